"""The states of a client, and the commands that each state allows. Pure."""

import enum


class ClientState(enum.IntEnum):
    """The state of a client, with nsqd's numbers (nsqd/client_v2.go), which GET /stats shows."""

    INIT = 0
    SUBSCRIBED = 3
    CLOSING = 4

    def allows(self, verb: str) -> bool:
        """Whether a client in this state may use a command."""
        allowed = _ALLOWED.get(verb)
        return allowed is None or self in allowed


_CAN_FINISH = (ClientState.SUBSCRIBED, ClientState.CLOSING)
_ALLOWED = {  # the states in which a command may be used; those not listed here may be used in any
    "IDENTIFY": (ClientState.INIT,),
    "AUTH": (ClientState.INIT,),
    "SUB": (ClientState.INIT,),
    "RDY": _CAN_FINISH,
    "FIN": _CAN_FINISH,
    "REQ": _CAN_FINISH,
    "TOUCH": _CAN_FINISH,
    "CLS": (ClientState.SUBSCRIBED,),
}
