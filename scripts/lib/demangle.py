# SPDX-License-Identifier: MIT OR Apache-2.0
"""Rust symbol names for people: rustc's legacy mangling and the v0 mangling of RFC 2603.

The precompiled `core` and rustc's own helpers carry v0 names, the kernel's functions legacy ones. Hashes are left out,
and what is no such name stays as it is.
"""
from __future__ import annotations

import re

BASIC = {
    "a": "i8", "b": "bool", "c": "char", "d": "f64", "e": "str", "f": "f32", "h": "u8", "i": "isize", "j": "usize",
    "l": "i32", "m": "u32", "n": "i128", "o": "u128", "p": "_", "s": "i16", "t": "u16", "u": "()", "v": "...",
    "x": "i64", "y": "u64", "z": "!",
}
SIGNED = "ailnsx"
# Back references that double make an endless name of a short one.
MOST_REFERENCES = 5000


def demangle(name: str) -> str:
    """Returns the Rust path of a mangled name, and any other name as it is."""
    if name.startswith("_R"):
        try:
            return V0(name[2:]).symbol()
        except (ValueError, IndexError, UnicodeError, RecursionError):
            return name
    return legacy(name)


def legacy(name: str) -> str:
    """Returns the Rust path of rustc's legacy mangling, and any other name as it is."""
    found = re.fullmatch(r"_ZN(.*)17h[0-9a-f]{16}E(?:\..*)?", name)
    if not found:
        return name
    rest, parts = found.group(1), []
    while rest:
        length = re.match(r"\d+", rest)
        if not length:
            return name
        start = length.end()
        parts.append(rest[start:start + int(length.group())])
        rest = rest[start + int(length.group()):]
    text = "::".join(parts)
    for code, plain in (("..", "::"), ("$LT$", "<"), ("$GT$", ">"), ("$u20$", " "), ("$RF$", "&"), ("$C$", ","),
                        ("$LP$", "("), ("$RP$", ")"), ("$u7b$", "{"), ("$u7d$", "}"), ("$BP$", "*")):
        text = text.replace(code, plain)
    return re.sub(r"(^|::|<)_(?=[<{&])", r"\1", text)


class V0:
    """Reads one v0 name, without its `_R`. The methods are called as the rules of the RFC's grammar are."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.bound = 0  # lifetimes that the binders around this place have named
        self.references = 0

    def symbol(self) -> str:
        """The whole name. The crate that instantiated it, and a compiler's suffix, are read over."""
        path = self.path(in_value=True)
        if self.at < len(self.text) and self.text[self.at] in "CMXYNIB":
            self.path(in_value=False)
        if self.at < len(self.text) and self.text[self.at] not in ".$":
            raise ValueError(self.text)
        return path

    def take(self) -> str:
        """Reads the next character."""
        self.at += 1
        return self.text[self.at - 1]

    def eat(self, character: str) -> bool:
        """Reads this character if it is next, and returns whether it was."""
        found = self.text[self.at:self.at + 1] == character
        self.at += found
        return found

    def until_end(self, rule) -> list[str]:
        """Reads a list that ends with `E`."""
        found = []
        while not self.eat("E"):
            found.append(rule())
        return found

    def base62(self) -> int:
        """A number in base 62: `_` is 0, `0_` is 1."""
        if self.eat("_"):
            return 0
        value = 0
        while not self.eat("_"):
            digit = self.take()
            value = value * 62 + "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ".index(digit)
        return value + 1

    def disambiguator(self) -> int:
        """Reads the number that distinguishes items of one name."""
        return self.base62() + 1 if self.eat("s") else 0

    def name(self) -> str:
        """An identifier without its disambiguator."""
        punycode = self.eat("u")
        digits = re.compile(r"0|[1-9]\d*").match(self.text, self.at)
        if not digits:
            raise ValueError(self.text)
        self.at = digits.end()
        self.eat("_")
        start, self.at = self.at, self.at + int(digits.group())
        text = self.text[start:self.at]
        if self.at > len(self.text):
            raise ValueError(self.text)
        if not punycode:
            return text
        plain, _, coded = text.rpartition("_")
        return (f"{plain}-{coded}" if plain else coded).encode("ascii").decode("punycode")

    def again(self, rule) -> str:
        """Follows a back reference: reads `rule` at an earlier place."""
        start = self.at - 1
        place = self.base62()
        self.references += 1
        if place >= start or self.references > MOST_REFERENCES:
            raise ValueError(self.text)
        here, self.at = self.at, place
        found = rule()
        self.at = here
        return found

    def path(self, in_value: bool) -> str:
        """A path. Generic arguments of a value are written behind `::`."""
        kind = self.take()
        if kind == "C":
            self.disambiguator()
            return self.name()
        if kind == "N":
            space = self.take()
            parent = self.path(in_value)
            number, name = self.disambiguator(), self.name()
            if space.isupper():
                what = {"C": "closure", "S": "shim"}.get(space, space)
                return f"{parent}::{{{what}{':' if name else ''}{name}#{number}}}"
            return f"{parent}::{name}" if name else parent
        if kind in "MX":
            # Where the implementation stands says less than what it is of.
            self.disambiguator()
            self.path(in_value=False)
        if kind in "MXY":
            own = self.type()
            return f"<{own}>" if kind == "M" else f"<{own} as {self.path(in_value=False)}>"
        if kind == "I":
            path = self.path(in_value)
            return f"{path}{'::' if in_value else ''}<{', '.join(self.until_end(self.argument))}>"
        if kind == "B":
            return self.again(lambda: self.path(in_value))
        raise ValueError(self.text)

    def argument(self) -> str:
        """A generic argument."""
        if self.eat("L"):
            return self.lifetime()
        return self.constant() if self.eat("K") else self.type()

    def lifetime(self) -> str:
        """A lifetime, by how many binders lie between it and its own."""
        index = self.base62()
        depth = self.bound - index
        if index == 0:
            return "'_"
        if depth < 0:
            raise ValueError(self.text)
        return f"'{chr(ord('a') + depth)}" if depth < 26 else f"'_{depth}"

    def with_binder(self, rule) -> str:
        """Reads `rule`, with the `for<...>` in front of it."""
        count = self.base62() + 1 if self.eat("G") else 0
        if count > len(self.text):
            raise ValueError(self.text)
        before = self.bound
        self.bound += count
        names = [f"'{chr(ord('a') + depth)}" if depth < 26 else f"'_{depth}" for depth in range(before, self.bound)]
        found = rule()
        self.bound = before
        return f"for<{', '.join(names)}> {found}" if names else found

    def type(self) -> str:
        """A type."""
        kind = self.take()
        if kind in BASIC:
            return BASIC[kind]
        if kind in "RQ":
            lifetime = self.lifetime() if self.eat("L") else "'_"
            return "&" + ("" if lifetime == "'_" else f"{lifetime} ") + ("mut " if kind == "Q" else "") + self.type()
        if kind in "PO":
            return ("*mut " if kind == "O" else "*const ") + self.type()
        if kind == "A":
            return f"[{self.type()}; {self.constant()}]"
        if kind == "S":
            return f"[{self.type()}]"
        if kind == "T":
            parts = self.until_end(self.type)
            return f"({parts[0]},)" if len(parts) == 1 else f"({', '.join(parts)})"
        if kind == "F":
            return self.with_binder(self.function)
        if kind == "D":
            bounds = self.with_binder(lambda: " + ".join(self.until_end(self.bound_trait)))
            if not self.eat("L"):
                raise ValueError(self.text)
            lifetime = self.lifetime()
            return f"dyn {bounds}" + ("" if lifetime == "'_" else f" + {lifetime}")
        if kind == "B":
            return self.again(self.type)
        self.at -= 1
        return self.path(in_value=False)

    def function(self) -> str:
        """A function pointer's type."""
        text = "unsafe " if self.eat("U") else ""
        if self.eat("K"):
            text += 'extern "' + ("C" if self.eat("C") else self.name().replace("_", "-")) + '" '
        text += f"fn({', '.join(self.until_end(self.type))})"
        result = self.type()
        return text if result == "()" else f"{text} -> {result}"

    def bound_trait(self) -> str:
        """A trait of a `dyn`, with what its associated types are."""
        path, given = self.path(in_value=False), []
        while self.eat("p"):
            given.append(f"{self.name()} = {self.type()}")
        if not given:
            return path
        return f"{path[:-1]}, {', '.join(given)}>" if path.endswith(">") else f"{path}<{', '.join(given)}>"

    def constant(self) -> str:
        """A constant: integers, `bool` and `char`, which is what stable Rust has as arguments."""
        kind = self.take()
        if kind == "B":
            return self.again(self.constant)
        if kind == "p":
            return "_"
        if kind not in "bchijlmnostxy" + SIGNED:
            raise ValueError(self.text)
        sign = "-" if kind in SIGNED and self.eat("n") else ""
        digits = re.compile(r"[0-9a-f]*_").match(self.text, self.at)
        if not digits:
            raise ValueError(self.text)
        self.at = digits.end()
        value = int(digits.group()[:-1] or "0", 16)
        if kind == "b":
            return ("false", "true")[value]
        return repr(chr(value)) if kind == "c" else f"{sign}{value}"
