"""Advice never harms: no message of echod's tells an operator to change or to end what is not echod's."""

from __future__ import annotations

import ast
import re

import pytest

from support.daemon import SOURCE

# What a message may not contain, and why
HARMFUL = {
    r"\bch(own|mod|grp|attr)\b|\bsetfacl\b": "changes the owner or the permissions of a file that echod has not made",
    r"\bp?kill(all)? (-|\d|\{)|\bfuser -k": "ends a process that is not echod's",
    r"\bsysctl\b(?! -w net\.core\.somaxconn=\{)": "loosens more than one setting needs",
    r"\bip (address|addr|a|link|route) (add|del|set)\b": "changes the network of the machine",
    r"\brm (-|/|\{)|\bunlink /|>\s?/(etc|proc|sys)/|echo .*>": "overwrites or removes what is not echod's",
    r"\bmust (own|belong)|\blet (nobody|root)\b": "is untrue, or reads as its opposite",
    r"\bsetenforce|\bdisable selinux|--privileged\b": "weakens the machine",
    r"\binstall -d -o \S+ /(var/log|var|run|etc|tmp|home|root)?[`'\" ]": "changes the owner of a system directory",
}


def messages():
    """Yield the place and the text of every string in the code that an operator may see; {…} is a value in it."""
    for path in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text())
        docs = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                text = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs | inner:
                text = node.value
            else:
                continue
            yield f"{path.relative_to(SOURCE)}:{node.lineno}", text


def harm(text):
    """Return why a text is harmful advice, or nothing."""
    return next((why for pattern, why in HARMFUL.items() if re.search(pattern, text)), "")


def test_no_message_is_harmful_advice():
    found = [(place, text, harm(text)) for place, text in messages()]
    assert len(found) > 1000, "all of the code"
    assert [each for each in found if each[2]] == []


@pytest.mark.parametrize(
    "text",
    [
        "chown nobody /var/log",
        "`chmod o+x {}`",
        "let nobody read it, with `chmod o+r {}` say",
        "process 7 (x); `kill {}`",
        "sysctl -w net.ipv4.ip_unprivileged_port_start={}",
        "ip address add {} dev {}",
        "echo {} >{}",
        "{} must belong to the user that echod runs as",
        "`install -d -o {} /var/log`",
    ],
)
def test_what_harms_is_recognized(text):
    assert harm(text)
