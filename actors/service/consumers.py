"""What all consumers say together. Each reads all nsqds, over connections of its own."""

from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from ..config import Settings
from ..core.consumers import is_consumer
from ..core.stats import ConsumerStats, NsqdStats, Stats, decode
from ..supervision.application import Application
from ..supervision.states import State

NONE_HEARD: Mapping[str, Stats] = {}


def told_by_consumers(
    application: Application[Settings], heard: Mapping[str, Stats] = NONE_HEARD
) -> ConsumerStats:
    """Return what the consumers say together: what was just `heard` of each, by its id, or else last.

    One that does not run has no connection. Which nsqds it knew of counts only while none runs.
    """
    run, do_not_run = [], []
    for worker in application.workers():
        if not is_consumer(worker.spec.id):
            continue
        told = heard.get(worker.spec.id) or (decode(worker.stats) if worker.stats else None)
        if not isinstance(told, ConsumerStats):
            continue
        if worker.spec.id in heard or worker.state is State.RUNNING:
            run.append(told)
        else:
            gone = [
                replace(one, connected=False, ready_count=0, in_flight=0, own_ends=[]) for one in told.nsqds
            ]
            do_not_run.append(ConsumerStats(0, 0, 0, gone))
    return together(run or do_not_run)


def together(told: Sequence[ConsumerStats]) -> ConsumerStats:
    """Return what several consumers have in flight, and which nsqds they know of, as if they were one."""
    if len(told) == 1:
        return told[0]
    return ConsumerStats(
        sum(one.outstanding for one in told),
        sum(one.connections for one in told),
        sum(one.ready_count for one in told),
        [_as_one(several) for several in _by_nsqd(one for each in told for one in each.nsqds)],
        # An nsqlookupd that one of them has heard is heard.
        unheard=told[0].unheard if told and all(one.unheard for one in told) else [],
    )


def _by_nsqd(nsqds: Iterable[NsqdStats]) -> list[list[NsqdStats]]:
    """Those of each nsqd. Consumers may know an nsqd by different names: one in common is enough."""
    address_of: dict[str, str] = {}  # by name: the first address of its nsqd
    found: dict[str, list[NsqdStats]] = {}  # by that
    for one in nsqds:
        names = (one.address, *one.names)
        known = list(dict.fromkeys(address_of[name] for name in names if name in address_of))
        first, *others = known or [one.address]
        several = found.setdefault(first, [])
        for other in others:
            several += found.pop(other)
        several.append(one)
        address_of |= {name: first for each in several for name in (each.address, *each.names)}
    return list(found.values())


def _as_one(several: list[NsqdStats]) -> NsqdStats:
    """One nsqd as several consumers see it."""
    own = [one for one in several if one.connected]
    first = (own or several)[0]
    wrong = [one.wrong_http for one in several if one.wrong_http]
    http = [one.http_address for one in several if one.http_address not in ("", *wrong)]
    looked = min((one for one in several if one.looked_ms is not None), key=_looked_ms, default=first)
    return replace(
        first,
        http_address=http[0] if http else "",
        ready_count=sum(one.ready_count for one in several),
        in_flight=sum(one.in_flight for one in several),
        last_age_ms=max((one.last_age_ms for one in several if one.last_age_ms is not None), default=None),
        names=sorted({name for one in several for name in one.names}),
        held=looked.held,
        looked_ms=looked.looked_ms,
        own_ends=[end for one in own for end in one.own_ends],
        connected_ms=min((one.connected_ms for one in own), default=0),
        wrong_http=wrong[0] if wrong and not http else "",
        is_checked=all(one.is_checked for one in own or several),
    )


def _looked_ms(one: NsqdStats) -> int:
    return one.looked_ms or 0
