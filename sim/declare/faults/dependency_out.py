"""A time in which what services call is out of order."""

from typing import ClassVar, Literal

from sim.declare.faults.kind import Draw, FaultKind, Lasting, OutWindow, System, drawn_of


class DependencyOut(Lasting, FaultKind):
    """Calls of a dependency that begin in the window fail at once; or, with `how: hang`, wait until it is over.

    Calls that are waiting or being served when it begins go on.
    """

    kind: Literal["dependency_out"]
    dependency: str
    how: Literal["fail", "hang"] = "fail"

    done_to_it: ClassVar = "taken out"

    @property
    def label(self) -> str:
        return f"{self.dependency} out"

    def in_words(self, system: System) -> str:
        what = "fail at once" if self.how == "fail" else "hang until it is over"
        return f"{self.when()}, calls of {self.dependency} {what}."

    @classmethod
    def drawn(cls, draw: Draw) -> FaultKind | None:
        if not draw.dependencies:
            return None
        which = draw.dependencies[int(draw.rng.integers(len(draw.dependencies)))]
        return drawn_of(cls, draw, kind="dependency_out", dependency=which, for_s=round(draw.lasts_s, 3))

    def hits(self, name: str, system: System) -> bool:
        return name in system.services and self.dependency in system.services[name].uses

    def parts(self, system: System) -> frozenset[str]:
        return frozenset([f"dependency {self.dependency!r}"])

    def problem(self, system: System) -> str | None:
        if self.dependency not in system.dependencies:
            there = ", ".join(map(repr, system.dependencies)) or "none; declare it below dependencies"
            return f"there is no dependency {self.dependency!r}; there are {there}"
        return super().problem(system)

    def out_windows(self, dependency: str) -> tuple[OutWindow, ...]:
        if dependency != self.dependency:
            return ()
        return (OutWindow(self.at_s, self.until_s, hangs=self.how == "hang"),)
