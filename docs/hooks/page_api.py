"""The pages of the API reference: one for each package, with every public module in it, found in the source tree."""

import pathlib

ROOT = pathlib.Path(__file__).parents[2]
PACKAGES = ("rgflow", "launch", "configs")
TITLES = {"rgflow": "rgflow", "launch": "launch: the commands", "configs": "configs: the presets"}


def packages() -> list[str]:
    """Returns the dotted names of all packages, those that they hold after them."""
    found = [path.parent for name in PACKAGES for path in sorted((ROOT / name).rglob("__init__.py"))]
    return [".".join(folder.relative_to(ROOT).parts) for folder in found]


def modules(package: str) -> list[str]:
    """Returns the dotted names of a package's own public modules."""
    folder = ROOT.joinpath(*package.split("."))
    return [f"{package}.{path.stem}" for path in sorted(folder.glob("*.py")) if not path.stem.startswith("_")]


def page_name(package: str) -> str:
    """Returns the path of a package's page, relative to the folder of pages."""
    return f"api/{package}.md"


def page(package: str) -> str:
    """Returns the Markdown of a package's page."""
    own = f"::: {package}\n    options:\n      heading_level: 2\n      members: false\n"
    rest = [f"::: {name}\n    options:\n      heading_level: 2\n" for name in modules(package)]
    return "\n".join([f"# {TITLES.get(package, package)}\n", own, *rest])


def pages() -> dict[str, str]:
    """Returns the Markdown of every page of the reference by its path."""
    return {page_name(package): page(package) for package in packages()}


def nav() -> list[dict[str, str]]:
    """Returns the entries of the reference in the navigation."""
    return [{package: page_name(package)} for package in packages()]
