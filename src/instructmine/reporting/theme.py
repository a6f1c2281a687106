"""Colours of a report by what they stand for, light and dark; text on its ground meets WCAG AA."""

from __future__ import annotations

LIGHT = {
    "ink": "#1c1e21", "paper": "#ffffff", "panel": "#f4f5f7", "line": "#d3d7dd",
    "muted": "#565c66", "accent": "#0b5cad", "on-accent": "#ffffff",
    "warn": "#7a3600", "warn-ground": "#fff1df", "good": "#0a5c33", "good-ground": "#e6f6ed",
    "chosen": "#0b5cad", "rest": "#7e848e",
    "fifth-1": "#0b5cad", "fifth-2": "#4389c9", "fifth-3": "#7e848e", "fifth-4": "#c77935",
    "fifth-5": "#a33f00",
    "group-1": "#0b5cad", "group-2": "#b34700", "group-3": "#00795f", "group-4": "#8a4fa3",
    "group-5": "#946200", "group-6": "#c02e6f", "group-7": "#4f6f1e",
}  # fmt: skip
DARK = {
    "ink": "#e8eaed", "paper": "#14161a", "panel": "#1d2127", "line": "#3a414c",
    "muted": "#a9b0bb", "accent": "#7cbaff", "on-accent": "#10141a",
    "warn": "#ffc48a", "warn-ground": "#33230f", "good": "#86dfb0", "good-ground": "#11291c",
    "chosen": "#6cb2ff", "rest": "#8b929d",
    "fifth-1": "#6cb2ff", "fifth-2": "#4a86c5", "fifth-3": "#8b929d", "fifth-4": "#d98a4a",
    "fifth-5": "#ffb27d",
    "group-1": "#6cb2ff", "group-2": "#ff9e5e", "group-3": "#4fd1ac", "group-4": "#d0a0ea",
    "group-5": "#f2c14e", "group-6": "#ff8fbe", "group-7": "#b3d46c",
}  # fmt: skip
