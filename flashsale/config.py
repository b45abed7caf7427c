"""Configuration: environment variables FLASHSALE_*, then a file flashsale.toml; checked at start.

Every fault names the variable and the fix. Nothing is read from anywhere else later on.
"""

import ipaddress
import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Final, Self, TypeAlias
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from flashsale.durability import Settling
from flashsale.errors import BadInputError
from flashsale.rights import KEY_BYTES, RightKeys

ENV_PREFIX: Final = "FLASHSALE_"
SECRET_LENGTH_MIN: Final = 32
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


class Settings(BaseSettings):
    """All settings of all processes. Each can be given as FLASHSALE_<NAME> or in the file under its name."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="forbid", frozen=True)

    sandbox: bool = Field(False, description="ship-alone mode: logs anybody in, pays with play money")
    production: bool = Field(False, description="set it on real shops: refuses sandbox mode and missing secrets")
    redis_url: str = Field("", description="redis://… or unix:///path, or nodes of a cluster; empty: the embedded pair")
    postgres_dsn: str = Field("", description="postgresql://user:password@host/database; empty: the embedded pair")
    state_dir: Path = Field(Path(".flashsale"), description="where the embedded pair and the sandbox keep their data")
    replicas: Annotated[int, Field(ge=1, le=5)] = 1  # how many must have a win at level replicated
    right_keys: str = Field("", description="id:hex of 32 bytes, comma separated; the first signs, all check")
    fcode_keys: str = Field("", description="as right_keys, for F-codes; empty: made from right_keys, which must stay")
    jwt_key: str = Field("", description="the shop's HS256 key for identity tokens, 32 characters or more")
    jwt_jwks: str = Field("", description="https address or file of the shop's JWKS, instead of jwt_key")
    jwt_issuer: str = Field("", description="the issuer that identity tokens must name; empty: any")
    jwt_audience: str = Field("", description="the audience that identity tokens must name; empty: any")
    webhook_secret: str = Field("", description="the payment provider's Standard Webhooks secret, whsec_…")
    public_url: str = Field("", description="the address under which fans reach the site; empty: host and port")
    host: str = Field("127.0.0.1", description="the address to listen on")
    port: Annotated[int, Field(ge=1, le=65_535)] = 8000
    processes: Annotated[int, Field(ge=0, le=64)] = 0  # how many api processes share the port; 0: one for each core
    own_port: Annotated[int, Field(ge=0, le=65_535)] = 0  # where the first of them alone can be asked; 0: nowhere
    fan_presses_per_s: Annotated[float, Field(ge=0, le=1000)] = 2.0  # 0: as many as they like
    address_requests_per_s: Annotated[float, Field(ge=0, le=100_000)] = 0.0  # 0: as many as it likes
    challenge_tries: Annotated[int, Field(ge=10, le=1_000_000)] = 6000  # how many keys a challenge takes at the most
    proxies: str = Field("", description="networks, comma separated, whose X-Forwarded-For is believed; empty: none")
    worker_port: Annotated[int, Field(ge=0, le=65_535)] = 0  # where the worker serves its metrics; 0: nowhere

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file."""
        file = TomlConfigSettingsSource(settings_cls, toml_file=config_file())
        return init_settings, env_settings, file

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, url: str) -> str:
        for one in url.split(",") if url else ():
            if not one.startswith(("redis://", "rediss://", "unix://")):
                raise ValueError("must begin with redis://, rediss:// or unix://; nodes of a cluster with , between")
            _with_good_port(one)
        if "," in url and "unix://" in url:
            raise ValueError("nodes of a cluster have addresses with a port; a unix socket stands alone")
        return url

    @field_validator("postgres_dsn")
    @classmethod
    def _postgres(cls, dsn: str) -> str:
        if dsn and not dsn.startswith(("postgresql://", "postgres://")):
            raise ValueError("must begin with postgresql://")
        return _with_good_port(dsn)

    @field_validator("right_keys", "fcode_keys")
    @classmethod
    def _rights(cls, text: str) -> str:
        if text:
            parse_right_keys(text)
        return text

    @field_validator("jwt_key")
    @classmethod
    def _jwt(cls, key: str) -> str:
        if key and len(key) < SECRET_LENGTH_MIN:
            raise ValueError(f"must have {SECRET_LENGTH_MIN} characters or more")
        return key

    @field_validator("proxies")
    @classmethod
    def _networks(cls, text: str) -> str:
        _networks_in(text)
        return text

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.sandbox and self.production:
            raise ValueError("sandbox: must not be on together with production; unset FLASHSALE_SANDBOX")
        if bool(self.redis_url) != bool(self.postgres_dsn):
            raise ValueError("redis_url and postgres_dsn: set both, or neither for the embedded pair")
        if self.jwt_key and self.jwt_jwks:
            raise ValueError("jwt_key and jwt_jwks: set one of them")
        return self

    @property
    def base_url(self) -> str:
        """The address under which the site is reached, without a slash at the end."""
        return (self.public_url or f"http://{self.host}:{self.port}").rstrip("/")

    @property
    def proxy_networks(self) -> tuple[Network, ...]:
        """The proxies as networks."""
        return _networks_in(self.proxies)

    @property
    def embedded(self) -> bool:
        """Whether no servers are configured, so that the embedded pair is meant."""
        return not self.redis_url


def config_file() -> Path:
    """The file that settings are read from: FLASHSALE_CONFIG, or flashsale.toml in this folder."""
    return Path(os.environ.get(f"{ENV_PREFIX}CONFIG", "flashsale.toml"))


def load(**given: Any) -> Settings:
    """The settings, checked. given: what the command line says, over everything else.

    Raises BadInputError with one line for each fault, naming the variable.
    """
    named = os.environ.get(f"{ENV_PREFIX}CONFIG")
    if named and not Path(named).is_file():
        raise BadInputError(f"{ENV_PREFIX}CONFIG: there is no file {named}")
    _refuse_unknown_variables()
    try:
        return Settings(**given)
    except ValidationError as faults:
        lines = "\n  ".join(_line(fault) for fault in faults.errors())
        raise BadInputError(f"The configuration was refused:\n  {lines}") from faults
    except tomllib.TOMLDecodeError as fault:
        raise BadInputError(f"{config_file()} is not valid TOML: {fault}") from fault


def settling_of(settings: Settings, *, cluster: bool) -> Settling:
    """What makes a win replicated and fsynced here. On a cluster a replica's disk counts: it may take over."""
    return Settling(replicas=settings.replicas, log_replicas=settings.replicas if cluster else 0)


def parse_right_keys(text: str) -> RightKeys:
    """The keys in FLASHSALE_RIGHT_KEYS. Raises ValueError that says what they should look like."""
    keys = {}
    for part in text.split(","):
        key_id, _, value = part.strip().partition(":")
        try:
            keys[key_id] = bytes.fromhex(value)
        except ValueError:
            raise ValueError(f"{key_id}: must be id:{KEY_BYTES * 2} hex digits") from None
    return RightKeys(keys)


def _networks_in(text: str) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as fault:
        raise ValueError(f"{fault}; write 10.0.0.0/8,192.0.2.7") from None


def _with_good_port(address: str) -> str:
    try:
        urlsplit(address).port  # noqa: B018 -- looking at it is what checks it
    except ValueError as fault:
        raise ValueError(f"can't be read: {fault}") from None
    return address


def _refuse_unknown_variables() -> None:
    """A variable with a typo would be passed over in silence; so it is refused."""
    known = {f"{ENV_PREFIX}{name.upper()}" for name in Settings.model_fields} | {f"{ENV_PREFIX}CONFIG"}
    ours = {name for name in os.environ if name.startswith(ENV_PREFIX)}
    unknown = sorted(name for name in ours - known if not name.startswith((f"{ENV_PREFIX}TEST_", f"{ENV_PREFIX}WALK")))
    if unknown:
        raise BadInputError(f"{unknown[0]}: there is no such setting. Known are: {', '.join(sorted(known))}")


def _line(fault: Any) -> str:
    message = fault["msg"].removeprefix("Value error, ")
    if not fault["loc"]:
        return str(message)
    name = f"{ENV_PREFIX}{str(fault['loc'][0]).upper()}"
    if fault["type"] == "extra_forbidden":
        return f"{fault['loc'][0]}: there is no such setting in {config_file()}; is it a typo?"
    return f"{name}: {message}"
