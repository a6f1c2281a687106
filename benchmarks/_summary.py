"""One page, one file of figures and one plot of all benchmarks that have run."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

COMPARED = (
    "instructmine", "torch", "transformers", "numpy", "scipy", "faiss-cpu", "scikit-learn",
    "statsmodels", "FLAML", "lm_eval", "lexicalrichness", "pynndescent", "apricot-select",
    "pyversity", "semhash", "model2vec",
)  # fmt: skip
HOW = {
    "as shipped": "the peer's own package, called as its documents say",
    "own environment": "the same, in a process with the versions that the peer asks for",
    "restated": "a project that is scripts and no package, or its operator without the package: "
    "its loop is restated in `benchmarks/_model_peers.py`",
    "plain loop": "no project's code: what anyone would write first",
}
COLOURS = {
    "as shipped": "#1b6ca8",
    "own environment": "#2a9d8f",
    "restated": "#d1495b",
    "plain loop": "#8d8d8d",
}


# ── the machine ─────────────────────────────────────────────────────────────────────────────


def machine() -> dict[str, Any]:
    """Return what the figures depend on, and nothing that names this machine."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory, GiB": _memory(),
        "system": platform.system(),
        "python": platform.python_version(),
        "packages": {name: version for name in COMPARED if (version := _version(name))},
    }


def _processor() -> str:
    """Return the model name of the processor, with the vector units that matter to speed."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    known = {key.strip(): value.strip() for key, _, value in (one.partition(":") for one in lines)}
    flags = set(known.get("flags", "").split())
    units = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in flags]
    name = known.get("model name") or platform.processor() or platform.machine()
    return f"{name} ({', '.join(units)})" if units else name


def _memory() -> int:
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


# ── the page ────────────────────────────────────────────────────────────────────────────────


def page(about: dict[str, Any], runs: Sequence[dict[str, Any]], quick: bool) -> str:
    """Return the Markdown page. runs: name, output, seconds, comparisons, missing of each."""
    title = "# Benchmarks, a quick run: the figures mean nothing" if quick else "# Benchmarks"
    packages = ", ".join(f"{name} {version}" for name, version in about["packages"].items())
    machine_line = (
        f"{about['processor']}, {about['cores']} cores, {about['memory, GiB']} GiB, "
        f"{about['system']}, Python {about['python']}. {packages}."
    )
    took = sum(run["seconds"] for run in runs)
    return "\n\n".join(
        [
            title,
            f"`make bench` wrote this; {took / 60:.0f} minutes, one thread where nothing else is "
            "said. Ratios are the point: **ours / theirs, below 1 is better for us**. Both sides "
            "take turns in one run; a ratio is the median over its rounds, with the smallest and "
            "the largest. Everything is compared for equality first. Seconds are of this machine.",
            machine_line,
            "## Against the peers",
            "![Ratios of all comparisons](bench.png)",
            *_comparisons(runs),
            *(_section(run) for run in runs),
        ]
    ) + "\n"  # fmt: skip


def _comparisons(runs: Sequence[dict[str, Any]]) -> list[str]:
    rows = [
        "| what | against | how | ours / theirs | of | ours | theirs | checked first |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in every_comparison(runs):
        ratio = one["ratio"]
        cells = (
            one["what"],
            one["against"] + _versions_text(one["packages"]),
            one["how"],
            f"**{ratio['median']:.3g}** ({ratio['least']:.3g}–{ratio['most']:.3g}, "
            f"{ratio['rounds']} rounds)",
            one["quantity"],
            f"{one['ours']:.3g}",
            f"{one['theirs']:.3g}",
            one["equality"],
        )
        rows.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
    left_out = [f"- {name}: {why}" for run in runs for name, why in run.get("missing", {}).items()]
    failed = [f"- {run['name']}: it ended with an error" for run in runs if run["failed"]]
    meaning = [f"- {name}: {text}" for name, text in HOW.items()]
    return [
        "\n".join(rows),
        "How a peer was run:\n\n" + "\n".join(meaning),
        *(["Left out:\n\n" + "\n".join(left_out + failed)] if left_out or failed else []),
    ]


def short_table(comparisons: Sequence[dict[str, Any]]) -> str:
    """Return the table of the documentation: ratios without seconds and versions."""
    rows = ["| what | against | ours / theirs | checked first |", "|---|---|---|---|"]
    for one in comparisons:
        ratio = one["ratio"]
        unit = "" if one["quantity"] == "CPU seconds" else f" {one['quantity']}"
        cells = (
            one["what"],
            f"{one['against']} ({one['how']})",
            f"**{ratio['median']:.3g}** ({ratio['least']:.3g}–{ratio['most']:.3g}){unit}",
            one["equality"],
        )
        rows.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
    return "\n".join(rows)


def _versions_text(packages: dict[str, str]) -> str:
    text = ", ".join(f"{name} {version}" for name, version in packages.items())
    return f" ({text})" if text else ""


def _section(run: dict[str, Any]) -> str:
    return f"## {run['name']}\n\n{run['seconds']:.0f} seconds.\n\n```\n{run['output'].strip()}\n```"


def every_comparison(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the comparisons of all runs, in order."""
    return [one for run in runs for one in run.get("comparisons", [])]


# ── the plot ────────────────────────────────────────────────────────────────────────────────


def plot(comparisons: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw one row per comparison: the median ratio as a dot, from the smallest to the largest."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FuncFormatter

    height = 1.4 + 0.27 * len(comparisons)
    figure, axis = plt.subplots(figsize=(11, height), layout="constrained")
    for how, colour in COLOURS.items():
        chosen = [n for n, one in enumerate(comparisons) if one["how"] == how]
        ratios = [comparisons[n]["ratio"] for n in chosen]
        middle = [one["median"] for one in ratios]
        below = [one["median"] - one["least"] for one in ratios]
        above = [one["most"] - one["median"] for one in ratios]
        axis.errorbar(
            middle, chosen, xerr=[below, above], fmt="o", color=colour, label=how, capsize=3,
            markersize=5,
        )  # fmt: skip
    axis.axvline(1, color="black", linewidth=1)
    labels = [f"{one['what']} — {one['against']}{_unit(one)}" for one in comparisons]
    axis.set_yticks(range(len(comparisons)), labels, fontsize=8)
    axis.set(xscale="log", ylim=(len(comparisons) - 0.4, -0.6))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_xlabel("ours / theirs: CPU seconds where nothing else is said; left of 1 ours is less")
    axis.grid(axis="x", alpha=0.3)
    figure.legend(*axis.get_legend_handles_labels(), ncols=4, loc="outside upper right",
                  frameon=False, fontsize=8)  # fmt: skip
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _unit(one: dict[str, Any]) -> str:
    return "" if one["quantity"] == "CPU seconds" else f" [{one['quantity']}]"
