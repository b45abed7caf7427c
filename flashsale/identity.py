"""Identity: who a fan is, from a JWT of the shop's; and the secrets of a process.

The shop signs with a shared key (HS256) or publishes its public keys (JWKS; RS256, ES256, EdDSA). The claim `sub` is
the fan. In sandbox mode this module also signs, with secrets kept in the state folder.
"""

import asyncio
import base64
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jwt
import orjson

from flashsale import rights
from flashsale.config import Settings, parse_right_keys
from flashsale.errors import BadInputError, SurroundingsError
from flashsale.fcode import CodeKeys
from flashsale.rights import RightKeys

_PUBLIC_KEY_ALGORITHMS: Final = ["RS256", "ES256", "EdDSA"]
_SANDBOX_TOKEN_S: Final = 30 * 86_400
_LEEWAY_S: Final = 30
_CODES: Final = b"flashsale-fcodes"
_JWKS_WAIT_S: Final = 3


class NoIdentityError(Exception):
    """The token is missing, malformed, expired or not the shop's; str() says which."""


class IdentityAwayError(Exception):
    """The shop's keys can't be had now, so nobody's identity can be checked; that is not the fan's fault."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """What a process needs to know and never shows."""

    right_keys: RightKeys
    code_keys: CodeKeys
    jwt_key: str
    webhook_secret: str


def secrets_of(settings: Settings) -> Secrets:
    """The configured secrets; in sandbox mode, missing ones are made once and kept in the state folder.

    Raises BadInputError that names the variable when one is missing.
    """
    made = _sandbox_secrets(settings.state_dir) if settings.sandbox else {}
    right_keys = settings.right_keys or made.get("right_keys", "")
    jwt_key = settings.jwt_key or ("" if settings.jwt_jwks else made.get("jwt_key", ""))
    webhook_secret = settings.webhook_secret or made.get("webhook_secret", "")
    if not right_keys:
        raise BadInputError(
            "FLASHSALE_RIGHT_KEYS: is missing; make one with: "
            "python3 -c \"import secrets; print('k1:' + secrets.token_hex(32))\""
        )
    if settings.sandbox and settings.jwt_jwks:
        raise BadInputError("FLASHSALE_JWT_JWKS: the sandbox signs tokens itself; unset it, or FLASHSALE_SANDBOX")
    if not jwt_key and not settings.jwt_jwks:
        raise BadInputError("FLASHSALE_JWT_KEY: is missing; set it or FLASHSALE_JWT_JWKS to the shop's key")
    if not webhook_secret:
        raise BadInputError("FLASHSALE_WEBHOOK_SECRET: is missing; set it to the payment provider's whsec_… secret")
    return Secrets(parse_right_keys(right_keys), _code_keys(settings.fcode_keys, right_keys), jwt_key, webhook_secret)


def code_keys_of(settings: Settings) -> CodeKeys:
    """The keys of F-codes alone, for ops. Raises BadInputError that names the variable when they are missing."""
    made = _sandbox_secrets(settings.state_dir) if settings.sandbox else {}
    right_keys = settings.right_keys or made.get("right_keys", "")
    if not settings.fcode_keys and not right_keys:
        raise BadInputError(
            "FLASHSALE_FCODE_KEYS: is missing; set it, or FLASHSALE_RIGHT_KEYS, to what the api processes have"
        )
    return _code_keys(settings.fcode_keys, right_keys)


def _code_keys(fcode_keys: str, right_keys: str) -> CodeKeys:
    """Those that are set, or some made from the right keys."""
    return CodeKeys(parse_right_keys(fcode_keys or right_keys).derived(_CODES))


def _sandbox_secrets(state: Path) -> dict[str, str]:
    file = state / "sandbox-secrets.json"
    try:
        state.mkdir(parents=True, exist_ok=True)
        made = {
            "right_keys": f"sandbox:{secrets.token_hex(rights.KEY_BYTES)}",
            "jwt_key": secrets.token_urlsafe(48),
            "webhook_secret": f"whsec_{base64.b64encode(secrets.token_bytes(24)).decode()}",
        }
        # Written aside and linked: whoever comes first wins, and nobody ever reads half a file.
        draft = state / f".secrets-{os.getpid()}-{secrets.token_hex(4)}"
        draft.touch(mode=0o600)
        draft.write_bytes(orjson.dumps(made))
        try:
            os.link(draft, file)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
        read: dict[str, str] = orjson.loads(file.read_bytes())
    except OSError as trouble:
        raise SurroundingsError(f"The state folder {state} can't be used: {trouble}") from trouble
    return read


class Identities:
    """Checks identity tokens, and in sandbox mode makes them."""

    def __init__(self, settings: Settings, jwt_key: str) -> None:
        self._key = jwt_key
        self._required = ["exp", "sub"]
        self._issuer = settings.jwt_issuer or None
        self._audience = settings.jwt_audience or None
        self._jwks = settings.jwt_jwks
        self._jwks_client = (
            jwt.PyJWKClient(self._jwks, cache_keys=True, timeout=_JWKS_WAIT_S) if "://" in self._jwks else None
        )
        self._jwks_file = self._read_jwks() if self._jwks and self._jwks_client is None else None

    async def fan_of(self, authorization: str) -> str:
        """The fan whom `Authorization: Bearer <token>` names. Raises NoIdentityError or IdentityAwayError."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise NoIdentityError("send Authorization: Bearer <the shop's token>")
        key, algorithms = await self._key_for(token)
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=algorithms,
                issuer=self._issuer,
                audience=self._audience,
                leeway=_LEEWAY_S,
                options={"require": self._required, "verify_aud": self._audience is not None},
            )
        except (jwt.PyJWTError, TypeError, ValueError) as fault:  # a key of another kind than the token says
            raise NoIdentityError(f"the token was refused: {fault}") from fault
        fan = claims["sub"]
        if not isinstance(fan, str) or not rights.is_fan(fan):
            raise NoIdentityError("the token's sub must be 1 to 64 of letters, digits and _.:@|+=-")
        return fan

    def sign(self, fan: str, *, now_s: int) -> str:
        """A sandbox token for this fan. There is a shared key in sandbox mode: secrets_of() sees to it."""
        claims: dict[str, Any] = {"sub": fan, "iat": now_s, "exp": now_s + _SANDBOX_TOKEN_S}
        if self._issuer:
            claims["iss"] = self._issuer
        if self._audience:
            claims["aud"] = self._audience
        return jwt.encode(claims, self._key, algorithm="HS256")

    async def _key_for(self, token: str) -> tuple[Any, list[str]]:
        if not self._jwks:
            return self._key, ["HS256"]
        try:
            if self._jwks_client is not None:
                # It may fetch over the network, which must not stop everybody else.
                signing = await asyncio.to_thread(self._jwks_client.get_signing_key_from_jwt, token)
                return signing.key, _PUBLIC_KEY_ALGORITHMS
            key_id = jwt.get_unverified_header(token).get("kid")
        except jwt.PyJWKClientConnectionError as away:
            raise IdentityAwayError(str(away)) from away
        except jwt.PyJWTError as fault:
            raise NoIdentityError(f"the token was refused: {fault}") from fault
        assert self._jwks_file is not None
        for key in self._jwks_file.keys:
            if key_id is None or key.key_id == key_id:
                return key.key, _PUBLIC_KEY_ALGORITHMS
        raise NoIdentityError("the token names a key that the shop has not published")

    def _read_jwks(self) -> jwt.PyJWKSet:
        try:
            return jwt.PyJWKSet.from_json(Path(self._jwks).read_text(encoding="utf-8"))
        except (OSError, jwt.PyJWTError, ValueError) as fault:
            raise BadInputError(f"FLASHSALE_JWT_JWKS: {self._jwks} can't be read as a JWKS: {fault}") from fault
