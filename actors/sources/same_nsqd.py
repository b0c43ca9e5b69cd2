"""Which routes lead to one nsqd, and the names under which the ledgers know it."""

from .places import Place
from .route import Route

NAMES_MAX = 16  # they go with all plays of the nsqd; an nsqlookupd may tell any number


class SameNsqds:
    """The routes that have led somewhere, by place. A question looks at the routes to one nsqd alone."""

    def __init__(self) -> None:
        self._routes: dict[str, dict[str, Route]] = {}
        self._names: dict[str, set[str]] = {}

    def lead(self, route: Route, place: Place) -> bool:
        """Note where a route leads. Returns whether the nsqd there has a name more.

        Beyond `NAMES_MAX` names an nsqd gets only those that lead to it for certain.
        """
        if route.place is not None and route.place.key != place.key:
            self.forget(route)
        route.place = place
        self._routes.setdefault(place.key, {})[route.address] = route
        names = self._names.setdefault(place.key, set())
        told = {route.address} if len(names) < NAMES_MAX else set()
        is_new = not names >= {*told, *place.names}
        names |= {*told, *place.names}
        return is_new

    def forget(self, route: Route) -> None:
        """The route leads there no more."""
        if route.place is None:
            return
        key = route.place.key
        routes = self._routes[key]
        routes.pop(route.address, None)
        self._names[key].discard(route.address)
        if not routes:
            del self._routes[key], self._names[key]

    def of(self, route: Route) -> list[Route]:
        """Return a route, and the other routes to its nsqd."""
        same = self._routes.get(route.place.key, {}) if route.place else {}
        return [route, *(one for one in same.values() if one is not route)]

    def names(self, place: Place) -> list[str]:
        """Return the names of the nsqd at a place, sorted."""
        return sorted(self._names[place.key])
