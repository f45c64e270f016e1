"""The dose gauge: where an order's dose lies among the limits of the rules, as places on a bar and as a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from cds_service.console.words import say as ours
from cds_service.figures import show
from cds_service.orders import words
from cds_service.protocol.model import SEVERITIES, Limit, Protocol
from cds_service.rules.scale import Mark, Scale
from cds_service.says import Named, Says

_ROOM = Fraction(14, 10)
"""How far the bar goes beyond its highest limit; what lies beyond stands at its end."""
_EDGE = 97.0
"""The place of what lies beyond, in per cent."""
_TOUCHING = 12.0


@dataclass(frozen=True)
class Zone:
    """A part of the bar, in per cent, and the severity of what is said of a dose in it; `good` where nothing is."""

    start: float
    width: float
    severity: str


@dataclass(frozen=True)
class Tick:
    """A limit: its place, its number, what that is in all, what is said beyond it and where the number comes from."""

    place: float
    number: str
    in_all: str
    severity: str
    title: str
    sources: Sequence[str]
    """Ids of what it was taken from."""
    lower: bool = False
    """Its number stands in a second line, since the one before it is close."""


@dataclass(frozen=True)
class Pointer:
    """The ordered dose at one weight."""

    place: float
    says: str
    beyond: bool

    @property
    def anchor(self) -> str:
        """So that its words stay within the bar."""
        return "start" if self.place < 20 else "end" if self.place > 80 else "middle"


@dataclass(frozen=True)
class Gauge:
    what: str
    unit: str
    in_all: str
    """The unit of the whole dose, without the weight."""
    actual: Pointer | None
    ideal: Pointer | None
    zones: Sequence[Zone]
    ticks: Sequence[Tick]
    usual: Tick | None
    says: str
    """All of it in a sentence."""
    sources: Mapping[str, str]
    """id -> what it says: a citation, a statement, or how two of them were brought together."""


def gauge(scale: Scale, protocol: Protocol, say: Callable[[Says], str]) -> Gauge:
    """The picture of one scale."""
    limits = [mark.number for mark in scale.marks]
    end = limits[-1] * _ROOM or Fraction(1)
    ticks = _apart([_tick(mark, scale, end, say) for mark in scale.marks])
    usual = None
    if scale.usual is not None and scale.usual[1] < limits[0]:
        limit, number = scale.usual
        usual = Tick(
            _place(number, end), show(number), _in_all(number, scale), "good", _title(limit, say), limit.sources
        )
    actual = _pointer(scale.figure, scale, end, limits, scale.kg, "at-weight")
    ideal = _pointer(scale.on_ideal, scale, end, limits, scale.ideal_kg, "at-ideal-weight")
    what = say(words.regimen([scale.step.written]))
    return Gauge(
        what=what,
        unit=scale.unit,
        in_all=scale.unit.replace("/kg", ""),
        actual=actual,
        ideal=ideal,
        zones=_zones(scale.marks, end),
        ticks=ticks,
        usual=usual,
        says=_says(scale, limits),
        sources=_sources([*([usual] if usual else []), *ticks], protocol),
    )


def _tick(mark: Mark, scale: Scale, end: Fraction, say: Callable[[Says], str]) -> Tick:
    return Tick(
        place=_place(mark.number, end),
        number=show(mark.number),
        in_all=_in_all(mark.number, scale),
        severity=mark.severity,
        title=_title(mark.limit, say),
        sources=mark.limit.sources,
    )


def _title(limit: Limit, say: Callable[[Says], str]) -> str:
    return say(Named(f"limit-{limit.id}", limit.title))


def _apart(ticks: Sequence[Tick]) -> list[Tick]:
    """The ticks with every second number lower where two would touch on a telephone."""
    found: list[Tick] = []
    for tick in ticks:
        is_close = bool(found) and tick.place - found[-1].place < _TOUCHING and not found[-1].lower
        found.append(replace(tick, lower=is_close))
    return found


def _sources(ticks: Sequence[Tick], protocol: Protocol) -> dict[str, str]:
    return {name: _source(name, protocol) for name in dict.fromkeys(name for tick in ticks for name in tick.sources)}


def _source(name: str, protocol: Protocol) -> str:
    if name in protocol.evidence:
        return protocol.evidence[name].citation
    if name in protocol.statements:
        return protocol.statements[name].says
    return protocol.conflicts[name].resolution if name in protocol.conflicts else ""


def _in_all(number: Fraction, scale: Scale) -> str:
    """What a number per kg comes to at the dosing weight."""
    if "/kg" not in scale.unit or scale.kg is None:
        return ""
    return f"{show(number * scale.kg)} {scale.unit.replace('/kg', '')}"


def _place(number: Fraction, end: Fraction) -> float:
    return round(min(float(number / end) * 100, _EDGE), 2)


def _pointer(
    figure: Fraction | None, scale: Scale, end: Fraction, limits: Sequence[Fraction], kg: Fraction | None, at: str
) -> Pointer | None:
    if figure is None:
        return None
    says = f"{show(figure, *limits)} {scale.unit}"
    if kg is not None and "/kg" in scale.unit:
        says += f" {ours(at, kg=format(float(kg), '.3g'))}"
    return Pointer(_place(figure, end), says, figure > end)


def _zones(marks: Sequence[Mark], end: Fraction) -> list[Zone]:
    starts = [(Fraction(0), "good"), *((mark.number, mark.severity) for mark in marks)]
    stops = [*(number for number, _ in starts[1:]), end]
    found, worst = [], "good"
    for (start, severity), stop in zip(starts, stops, strict=True):
        worst = _worse(worst, severity)
        found.append(Zone(round(float(start / end) * 100, 2), round(float((stop - start) / end) * 100, 2), worst))
    return found


def _worse(one: str, other: str) -> str:
    order = (*SEVERITIES, "good")
    return min(one, other, key=order.index)


def _says(scale: Scale, limits: Sequence[Fraction]) -> str:
    if scale.figure is None:
        return ours("gauge-not-computed", unit=scale.unit)
    passed = [mark for mark in scale.marks if scale.figure > mark.number]
    figure = f"{show(scale.figure, *limits)} {scale.unit}"
    if not passed:
        return ours("gauge-within", figure=figure, limit=show(limits[0]))
    severity = ours(f"severity-{passed[-1].severity}")
    return ours("gauge-above", figure=figure, limit=show(passed[-1].number), severity=severity)
