"""workbench settings: what is set from outside, and where each value is from."""

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import SecretStr

from eventlib.broker.connection import without_password
from eventlib.cli.console import Json, ending, write_json
from eventlib.cli.terminal import print_table
from eventlib.settings import FILE, Setting, all_settings, read_settings

app = typer.Typer()


@app.command("settings", epilog=ending("`EVENTLIB_OUTAGE_WAIT_S=60 workbench settings`"))
def settings_command(
    file: Annotated[
        Path | None, typer.Option(help=f"The TOML file; without it the one that {FILE} names.", metavar="FILE")
    ] = None,
    json_file: Json = None,
) -> None:
    """Print the settings in force, and where each is from.

    That is the environment, the file or the defaults. Passwords are not shown. Unknown names and wrong values are
    errors.
    """
    loaded = read_settings(file)
    rows = [_row(setting, loaded.settings.model_dump()) for setting in all_settings()]
    for row in rows:
        row["from"] = loaded.origins.get(row["setting"], "default")
    write_json(json_file, {"settings": rows})
    columns = {
        "setting": [row["setting"] for row in rows],
        "variable": [row["variable"] for row in rows],
        "value": ["" if row["value"] is None else str(row["value"]) for row in rows],
        "from": [row["from"] for row in rows],
    }
    changed = {number for number, row in enumerate(rows) if row["from"] != "default"}
    print_table(columns, folded={"value", "from"}, spare=("variable",), bold_rows=changed)


def _row(setting: Setting, values: dict[str, Any]) -> dict[str, Any]:
    value = values[setting.section][setting.name]
    if isinstance(value, SecretStr):
        value = without_password(value.get_secret_value())
    return {
        "setting": setting.place,
        "variable": setting.variable,
        "value": str(value) if isinstance(value, Path) else value,
    }
