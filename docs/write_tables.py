"""Writes the tables of docs/security.md and docs/settings.md from the code: `python -m docs.write_tables`."""

import re
from pathlib import Path

from pydantic import SecretStr

from eventlib.broker.acl import JOURNEYS, ROLES, Journey, Role
from eventlib.operate.defects import DEFECTS, KEY_BYPASS
from eventlib.settings import Settings, all_settings

HERE = Path(__file__).parent
PAGES = ("security.md", "settings.md")


def roles_table() -> str:
    """What each role may do."""
    head = ["what a program or a person does", *ROLES]
    rows = [[journey.about, *(_mark(journey, role) for role in ROLES)] for journey in JOURNEYS]
    return _table(head, rows)


def settings_table() -> str:
    """Every setting: where it stands in a file, its variable, its default."""
    defaults = Settings().model_dump()
    rows = []
    for setting in all_settings():
        default = defaults[setting.section][setting.name]
        shown = "" if default is None or isinstance(default, SecretStr) else f"`{default}`"
        about = setting.model.model_fields[setting.name].description or ""
        rows.append([f"`{setting.place}`", f"`{setting.variable}`", shown, about])
    return _table(["setting", "variable", "default", "what it sets"], rows)


def releases_table() -> str:
    """Which releases check the keys that are read."""
    rows = []
    for defect in (each for each in DEFECTS if each.name == KEY_BYPASS):
        for (major, minor), patch in sorted(defect.mended.items()):
            mended = "" if patch is None else f"{major}.{minor}.{patch}"
            rows.append([f"{defect.product} {major}.{minor}", mended])
    return _table(["release line", "mended in"], rows)


def with_tables(page: str) -> str:
    """The text of a page with its tables as they are now."""
    for name, make in (("roles", roles_table), ("settings", settings_table), ("releases", releases_table)):
        table = make()
        pattern = rf"(<!-- table: {name} -->\n).*?(<!-- end -->)"
        page = re.sub(pattern, lambda found, text=table: f"{found[1]}{text}{found[2]}", page, flags=re.DOTALL)  # type: ignore[misc]
    return page


def _mark(journey: Journey, role: Role) -> str:
    return "yes" if role == "admin" or role in journey.roles else ""


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n".replace("|  |", "| |").replace("|  |", "| |") for cells in lines)


if __name__ == "__main__":
    for name in PAGES:
        path = HERE / name
        path.write_text(with_tables(path.read_text(encoding="utf-8")), encoding="utf-8")
