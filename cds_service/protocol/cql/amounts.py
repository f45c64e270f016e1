"""An amount of what is ordered against its limits, as an expression of CQL; or the reason why there is none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from cds_service.protocol import model
from cds_service.protocol.cql.scope import Scope, Unsaid, text, texts
from cds_service.protocol.model import Limit

JUDGED_AS = "As {}"
"""What the library that reads the order calls that it is judged as a use."""
_KINDS = ("bolus", "short", "continuous")
_SIGNS = {"above": ">", "at_least": ">=", "below": "<", "at_most": "<="}


def judged_as(uses: Sequence[str], scope: Scope) -> str:
    """Whether the order is judged as one of these uses."""
    return " or ".join(scope.of_order(JUDGED_AS.format(use)) for use in uses)


@dataclass
class _Meant:
    """The steps that one choice of limits applies to."""

    uses: list[str] = field(default_factory=list)
    routes: list[str] = field(default_factory=list)


_Chosen = tuple[tuple[str, str], ...]
"""(how it is compared, limit), for each that applies."""


class Amount:
    """One clause, for every use and route that it is about. Raises Unsaid for what the library does not read."""

    def __init__(self, clause: model.AmountIs, scope: Scope, routes: Sequence[str]) -> None:
        if clause.labelled or clause.first or clause.other_than:
            raise Unsaid("the labelled product is counted in devices and sprays")
        if clause.weight == "ideal":
            raise Unsaid("the ideal body weight is not computed")
        self._clause, self._scope, self._routes = clause, scope, routes
        self._is_rate = clause.figure.endswith("/h")

    def expression(self) -> str:
        scope = self._scope
        incomplete = scope.of_order("Dose is incomplete")
        if self._clause.together:
            incomplete += f"\n    or {scope.of_order('More may be given')}"
        ways = [self._way(chosen, session, meant) for (chosen, session), meant in self._groups().items()]
        if not ways:
            raise Unsaid("no limit of it applies to any route")
        holds = "\n      or ".join(f"({each})" for each in ways)
        answers = (
            f"{{ {holds} }}" if self._clause.figure == "min" else f"({self._figures()}) F\n    return all {holds}"
        )
        found = f'Chart."One holds"(\n  {answers},\n  {incomplete}\n)'
        if self._clause.weight == "none":
            found = f"{scope.of_order('Is without weight')}\nand {found}"
        return f"not {scope.of_order('Is labelled')}\nand {found}"

    def _groups(self) -> dict[tuple[_Chosen, str | None], _Meant]:
        """(limits, session) -> the uses and routes for which they count; those with none are not meant."""
        found: dict[tuple[_Chosen, str | None], _Meant] = {}
        uses = self._scope.protocol.uses
        for name in self._clause.use or uses:
            session = uses[name].session
            if session is None and self._clause.session is True:
                continue
            asked = session if self._clause.session is not None else None
            for route in self._routes:
                chosen = self._chosen(name, route)
                if chosen:
                    meant = found.setdefault((chosen, asked), _Meant())
                    meant.uses += [name] if name not in meant.uses else []
                    meant.routes += [route] if route not in meant.routes else []
        return found

    def _chosen(self, use: str, route: str) -> _Chosen:
        """The limits that apply; none where none of those that are named first does."""
        clause = self._clause
        if clause.route and route not in clause.route:
            return ()
        chosen = tuple(
            (how, name) for how in _SIGNS if (name := self._applying(getattr(clause, how), use, route)) is not None
        )
        first = next(how for how in self._first() if getattr(clause, how))
        return chosen if any(how == first for how, _ in chosen) else ()

    def _first(self) -> tuple[str, ...]:
        return ("below", "above", "at_least") if self._clause.figure == "min" else ("above", "at_least")

    def _applying(self, names: Sequence[str], use: str, route: str) -> str | None:
        limits = self._scope.protocol.limits
        return next((name for name in names if _applies(limits[name], use, route)), None)

    def _way(self, chosen: _Chosen, session: str | None, meant: _Meant) -> str:
        return "\n        and ".join(self._conditions(chosen, session, meant))

    def _conditions(self, chosen: _Chosen, session: str | None, meant: _Meant) -> Iterator[str]:
        scope, clause = self._scope, self._clause
        if set(meant.uses) != set(scope.protocol.uses):
            yield f"({judged_as(meant.uses, scope)})"
        if set(meant.routes) != set(self._routes):
            yield scope.of_order("Is by", texts(meant.routes))
        if session is not None:
            is_session = scope.of_order("Is session", scope.minutes(session))
            yield is_session if clause.session else f"not {is_session}"
        if clause.pushed:
            yield scope.of_order("Is pushed")
        if clause.figure == "min":
            yield from self._times(chosen)
        else:
            yield from (f"F {_SIGNS[how]} {self._number(limit)}" for how, limit in chosen)

    def _number(self, limit: str) -> str:
        number = f"{self._scope.of_drug(limit)}.value"
        return f"{number} * {self._scope.number(self._clause.part)}" if self._clause.part is not None else number

    def _figures(self) -> str:
        """What is compared: a step, and its repeats where these count."""
        scope, clause = self._scope, self._clause
        kinds = texts(clause.of or _KINDS)
        found = [scope.of_order("Alone", kinds, scope.of_order(clause.figure))]
        if clause.repeats and clause.within is not None:
            span = scope.minutes(clause.within)
            if self._is_rate:
                found.append(scope.of_order("Repeated", text(clause.figure.removesuffix("/h")), span))
            elif clause.together:
                found.append(scope.of_order("Repeated of", kinds, text(clause.figure), span))
        return found[0] if len(found) == 1 else "flatten {\n    " + ",\n    ".join(found) + "\n  }"

    def _times(self, chosen: _Chosen) -> Iterator[str]:
        scope, clause = self._scope, self._clause
        if clause.of:
            yield f"exists {scope.of_order('Alone', texts(clause.of), '1.0')}"
        timed = scope.of_order("Is timed")
        if clause.unstated:
            yield f"not {timed}"
            return
        minutes = scope.of_order("Minutes")
        short = " and ".join(f"{minutes} {_SIGNS[how]} {scope.minutes(limit)}" for how, limit in chosen)
        counts = [f"Coalesce({short}, false)"]
        if clause.push == "any":
            counts.append(scope.of_order("Is push"))
        elif clause.push == "untimed":
            counts.append(f"({scope.of_order('Is push')} and {minutes} is null)")
        yield timed
        yield f"({' or '.join(counts)})"
        if clause.dose_at_least is not None:
            yield f"{scope.of_order('mg/kg')} >= {scope.of_drug(clause.dose_at_least)}.value"


def _applies(limit: Limit, use: str, route: str) -> bool:
    return (not limit.routes or route in limit.routes) and (not limit.uses or use in limit.uses)
