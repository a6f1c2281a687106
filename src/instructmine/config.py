"""Profiles: which models and options stand behind the indicators.

A profile is a TOML file: `name`, `summary`, `rule`, `indicators` (what `score` computes when
none is named), `base_model`, `judge` and `classifier` (of `iterate`), and one table per indicator,
selector, trainer, evaluator, searcher or judge with its options.
`extends` takes another profile's tables first. `--set reward.model=PATH` overrides one field.
"""

from __future__ import annotations

import dataclasses
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from instructmine import plugins
from instructmine.contracts import Evaluator, Indicator, Judge, Searcher, Selector, Trainer
from instructmine.errors import UsageError
from instructmine.modelref import ModelRef
from instructmine.plugins import Plugin

PROFILES = Path(__file__).parent / "assets" / "profiles"
GROUPS: Mapping[str, type] = {  # what a profile holds options for
    "indicators": Indicator,
    "selectors": Selector,
    "trainers": Trainer,
    "evaluators": Evaluator,
    "searchers": Searcher,
    "judges": Judge,
}
ROLES = {"base_model": "starter", "judge": "reward", "classifier": "starter:encoder"}
_KINDS = "indicator, selector, trainer, evaluator, searcher or judge"


@dataclass(frozen=True)
class Profile:
    """The models and options behind every indicator, and what is taken where none is named.

    rule: of `select`. roles: of `iterate`, `base_model` (who answers), `judge` (who compares) and
    `classifier` (what it begins from).
    """

    name: str
    summary: str
    rule: str
    roles: Mapping[str, str]
    indicators: tuple[str, ...]
    options: Mapping[str, Mapping[str, Any]]

    def indicator(self, name: str) -> Indicator:
        """Build one indicator's config, and those it reads, from the profile's options."""
        cls = plugins.load("indicators", name, Indicator)
        inputs = {other: self.indicator(other) for other in cls.inputs}
        return self._build(cls, plugins.spelling("indicators", name), inputs)

    def selector(self, name: str) -> Selector:
        """Build one selector's config from the profile's options."""
        cls = plugins.load("selectors", name, Selector)
        return self._build(cls, plugins.spelling("selectors", name), {})

    def trainer(self, name: str, base_model: ModelRef) -> Trainer:
        """Build one trainer's config for a base model from the profile's options."""
        cls = plugins.load("trainers", name, Trainer)
        return self._build(cls, plugins.spelling("trainers", name), {"base_model": base_model})

    def evaluator(self, name: str) -> Evaluator:
        """Build one evaluator's config from the profile's options."""
        cls = plugins.load("evaluators", name, Evaluator)
        return self._build(cls, plugins.spelling("evaluators", name), {})

    def searcher(self, name: str) -> Searcher:
        """Build one searcher's config from the profile's options."""
        cls = plugins.load("searchers", name, Searcher)
        return self._build(cls, plugins.spelling("searchers", name), {})

    def judge(self, name: str) -> Judge:
        """Build one judge's config from the profile's options."""
        cls = plugins.load("judges", name, Judge)
        return self._build(cls, plugins.spelling("judges", name), {})

    def _build(self, cls: type[Plugin], name: str, inputs: Mapping[str, Any]) -> Plugin:
        fields = {f.name for f in dataclasses.fields(cls)} - set(inputs)  # type: ignore[arg-type]
        hints = typing.get_type_hints(cls)
        values = dict(inputs)
        for option, value in self.options.get(name, {}).items():
            if option not in fields:
                known = _options_of(name) - set(inputs)
                if option in known:  # of another plug-in of that name
                    continue
                raise UsageError(plugins.unknown(f"option of {name}", option, sorted(known)))
            values[option] = _coerce(value, hints[option], f"{name}.{option}")
        return cls(**values)

    def column_owners(self) -> dict[str, str]:
        """Return column → name of the indicator that gives it, under this profile."""
        owners: dict[str, str] = {}
        for name in plugins.names("indicators"):
            for column in self.indicator(name).columns:
                if column.name in owners:
                    raise UsageError(
                        f"indicators {owners[column.name]} and {name} both give the column "
                        f"'{column.name}'; rename one"
                    )
                owners[column.name] = name
        return owners

    def resolve(self, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Return indicator → columns wanted, for names of indicators, columns, or `all`.

        Raises UsageError for an unknown name, with the nearest known ones.
        """
        owners = self.column_owners()
        wanted: dict[str, list[str]] = {}
        for name in names:
            for one in self.indicators if name == "all" else (name,):
                own = one.replace("-", "_")
                if own in owners:
                    wanted.setdefault(owners[own], []).append(own)
                elif own in plugins.names("indicators"):
                    columns = [column.name for column in self.indicator(own).columns]
                    wanted.setdefault(own, []).extend(columns)
                else:
                    known = dict.fromkeys((*plugins.names("indicators"), *owners))
                    raise UsageError(plugins.unknown("indicator", one, known))
        return {
            name: tuple(c.name for c in self.indicator(name).columns if c.name in columns)
            for name, columns in wanted.items()
        }

    def override(self, settings: Iterable[str]) -> Profile:
        """Apply `indicator.option=value` settings (or selector, trainer, evaluator).

        A column stands for the indicator that gives it.
        """
        options = {name: dict(table) for name, table in self.options.items()}
        for setting in settings:
            path, equals, value = setting.partition("=")
            name, dot, option = path.strip().partition(".")
            if not equals or not dot:
                raise UsageError(f"cannot read --set {setting}; write indicator.option=value")
            name = self._option_table(name.strip())
            options.setdefault(name, {})[option.strip()] = value.strip()
        changed = dataclasses.replace(self, options=options)
        for name in options:  # a wrong option is an error now, not in the middle of a run
            changed._check(name)
        return changed

    def _check(self, name: str) -> None:
        """Build what an option table is about. Raises UsageError for an option it does not take."""
        for group in GROUPS:
            if name not in plugins.names(group):
                continue
            if group == "trainers":
                self.trainer(name, ModelRef("starter:lm"))
            else:
                getattr(self, group.removesuffix("s"))(name)

    def _option_table(self, name: str) -> str:
        """Return the plug-in that a name stands for; a column is its indicator's.

        A column goes before a selector of its name.
        """
        if plugins.spelling("indicators", name) in plugins.names("indicators"):
            return plugins.spelling("indicators", name)
        owners = self.column_owners()
        if name in owners:
            return owners[name]
        for group in GROUPS:
            if plugins.spelling(group, name) in plugins.names(group):
                return plugins.spelling(group, name)
        raise UsageError(plugins.unknown(_KINDS, name, _known_tables()))


def _known_tables() -> list[str]:
    return [name for group in GROUPS for name in plugins.names(group)]


def _options_of(name: str) -> set[str]:
    """Return the options of every plug-in of a name: a selector and a searcher may share one."""
    return {
        item.name
        for group, base in GROUPS.items()
        if name in plugins.names(group)
        for item in dataclasses.fields(plugins.load(group, name, base))
    }


def load_profile(name: str, settings: Iterable[str] = ()) -> Profile:
    """Load a shipped profile by name or a user's by path, with `--set` overrides.

    Raises UsageError for an unknown name, a file that is no TOML, or an unknown option.
    """
    profile = _read(name, ())
    return profile.override(settings)


def profile_names() -> list[str]:
    """Return the names of the shipped profiles."""
    return sorted(path.stem for path in PROFILES.glob("*.toml"))


def _read(name: str, above: tuple[str, ...]) -> Profile:
    if name in above:
        raise UsageError(f"profile {name} extends itself ({' → '.join((*above, name))})")
    path = PROFILES / f"{name}.toml" if name in profile_names() else Path(name)
    if not path.is_file():
        raise UsageError(
            plugins.unknown("profile", name, profile_names()) + "; or give the path of a TOML file"
        )
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"profile {path} is no valid TOML: {error}") from error
    base = _read(data.pop("extends"), (*above, name)) if "extends" in data else None
    tables = {key: value for key, value in data.items() if isinstance(value, dict)}
    plain = {key: value for key, value in data.items() if key not in tables}
    odd = set(plain) - {"name", "summary", "rule", "indicators", *ROLES}
    if odd:
        raise UsageError(f"profile {path}: unknown key '{sorted(odd)[0]}'; see docs/profiles.md")
    options = {key: dict(value) for key, value in base.options.items()} if base else {}
    for key, table in tables.items():
        if key not in _known_tables():
            unknown = plugins.unknown(_KINDS, key, _known_tables())
            raise UsageError(f"profile {path}: {unknown}")
        options[key] = {**options.get(key, {}), **table}
    return Profile(
        name=str(plain.get("name", path.stem)),
        summary=str(plain.get("summary", base.summary if base else "")),
        rule=str(plain.get("rule", base.rule if base else "reward")),
        roles={
            role: str(plain.get(role, base.roles[role] if base else usual))
            for role, usual in ROLES.items()
        },
        indicators=tuple(plain.get("indicators", base.indicators if base else ())),
        options=options,
    )


def _coerce(value: Any, hint: Any, where: str) -> Any:
    """Turn a TOML value or a `--set` string into a field's type, or say what would fit."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None or value == "none":
            return None
        inner = [argument for argument in arguments if argument is not type(None)]
        return _coerce(value, inner[0], where)
    if hint is ModelRef:
        return value if isinstance(value, ModelRef) else ModelRef(str(value))
    if origin is Literal:
        if value not in arguments:
            raise UsageError(f"{where} must be one of {', '.join(map(str, arguments))}")
        return value
    if origin is tuple:
        items = value.split(",") if isinstance(value, str) else value
        items = items if isinstance(items, (list, tuple)) else [items]
        return tuple(_coerce(item, arguments[0], where) for item in items)
    if hint is bool:
        known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if not isinstance(value, bool) and str(value).lower() not in known:
            raise UsageError(f"{where} must be true or false, not '{value}'")
        return value if isinstance(value, bool) else known[str(value).lower()]
    if hint in (int, float, str):
        try:
            return hint(value)
        except (TypeError, ValueError):
            raise UsageError(f"{where} must be a {hint.__name__}, not '{value}'") from None
    raise UsageError(f"{where} cannot be set from the outside")
