"""Where the config file is looked for. Imports nothing that is heavy: `--help` says it."""

from ..system.installation import INSTALLED, ROOT

NAME = "config.toml"
PROJECT_FILE = ROOT / NAME
EXAMPLE = ROOT / "actors" / NAME  # in a checkout a link to PROJECT_FILE
LOOKED_FOR = f"config.toml here, else {'every default' if INSTALLED else 'that of the checkout'}"
