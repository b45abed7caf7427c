"""Who asks: the fan of a request's identity token, or the refusal."""

from flashsale.api import replies
from flashsale.api.replies import RefusedError
from flashsale.identity import Identities, IdentityAwayError, NoIdentityError


async def fan_of(identities: Identities, authorization: str) -> str:
    """The fan whom the header names. Raises RefusedError when it names nobody, or nobody can tell."""
    try:
        return await identities.fan_of(authorization)
    except NoIdentityError as refused:
        raise RefusedError(replies.unauthorized(str(refused))) from refused
    except IdentityAwayError as away:
        raise RefusedError(replies.IDENTITY_AWAY) from away
