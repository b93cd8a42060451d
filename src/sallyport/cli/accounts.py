"""`sallyport service-account`: programs that prove who they are with a key of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sallyport.cli.errors import USAGE, CommandError
from sallyport.cli.invocation import Invocation, command
from sallyport.cli.tokens import unknown_targets
from sallyport.core.visible import counted

app = typer.Typer(
    name="service-account",
    no_args_is_help=True,
    help="Make, list and remove service accounts, and change their keys.",
)

MAXIMUM_KEY = 16 * 1024
COLUMNS = {
    "NAME": "name",
    "GROUPS": "groups",
    "TARGETS": "targets",
    "SOURCES": "sources",
    "OWNER": "owner",
    "KEYS": "key_ids",
}
Many = list[str]
Name = Annotated[str, typer.Argument(help="The account.")]
KeyFile = Annotated[
    Path,
    typer.Option("--public-key", help="A public key, PEM or JWK.", metavar="FILE"),
]


@command(
    app,
    "create",
    examples=(
        "openssl genpkey -algorithm ed25519 -out nightly.key",
        "openssl pkey -in nightly.key -pubout -out nightly.pub",
        "sallyport service-account create nightly --group agents --public-key nightly.pub",
        "sallyport service-account create nightly --public-key nightly.pub --target orders "
        "--source 10.0.0.0/8",
    ),
)
def create(
    call: Invocation,
    name: Name,
    public_keys: Annotated[
        list[Path],
        typer.Option(
            "--public-key", help="A public key, PEM or JWK (repeat for more).", metavar="FILE"
        ),
    ],
    groups: Annotated[
        Many | None, typer.Option("--group", help="A group it is in (repeat for more).")
    ] = None,
    targets: Annotated[
        Many | None, typer.Option("--target", help="Reaches this target only (repeat for more).")
    ] = None,
    sources: Annotated[
        Many | None, typer.Option("--source", help="Taken from this network only, in CIDR.")
    ] = None,
) -> None:
    """Make a service account. You become its owner, and cannot approve what it asks for."""
    from sallyport.cli.output import note

    made = call.client.post(
        "/service-accounts",
        {
            "name": name,
            "groups": groups or [],
            "keys": [read_key(file) for file in public_keys],
            "targets": targets or None,
            "sources": sources or None,
        },
    )
    if not call.as_json:
        for key in made["keys"]:
            note(f"key {key['id']} ({key['kind']})")
        for each in unknown_targets(call, targets or ()):
            note(f"there is no target `{each}` yet")
    call.output.done(made, f"service account {name} is made")


@command(app, "list", examples=("sallyport service-account list",))
def list_(
    call: Invocation,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 1000,
) -> None:
    """List service accounts with the ids of their keys."""
    found = call.client.pages("/service-accounts", "accounts", limit)
    call.output.table(
        found if call.as_json else [_with_ids(each) for each in found],
        COLUMNS,
        "no service accounts",
    )


@command(app, "remove", examples=("sallyport service-account remove nightly",))
def remove(call: Invocation, name: Name) -> None:
    """Remove a service account. Its tokens are revoked; its sessions end within a second."""
    from sallyport.cli.client import path

    answer = call.client.delete(path("service-accounts", name))
    call.output.done(answer, f"service account {name} is removed{_revoked(answer)}")


@command(
    app,
    "add-key",
    examples=("sallyport service-account add-key nightly --public-key next.pub",),
)
def add_key(call: Invocation, name: Name, public_key: KeyFile) -> None:
    """Register one more public key, before the old one is removed."""
    from sallyport.cli.client import path

    answer = call.client.post(path("service-accounts", name, "keys"), {"key": read_key(public_key)})
    call.output.done(answer, f"key {answer['id']} ({answer['kind']}) is added to {name}")


@command(
    app,
    "remove-key",
    examples=(
        "sallyport service-account remove-key nightly NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
    ),
    # An id may begin with a dash, and have an `h` behind it.
    context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]},
)
def remove_key(
    call: Invocation,
    name: Name,
    key: Annotated[str, typer.Argument(metavar="KEY", help="Its id, as `list` shows it.")],
) -> None:
    """Remove a public key. Tokens that it gave are revoked, and their sessions end."""
    from sallyport.cli.client import path

    answer = call.client.delete(path("service-accounts", name, "keys", key))
    call.output.done(answer, f"key {key} of {name} is removed{_revoked(answer)}")


def read_key(file: Path) -> str:
    """Return the text of a key's file. A private key never leaves this machine."""
    try:
        with file.open("rb") as opened:
            text = opened.read(MAXIMUM_KEY + 1).decode("utf-8")
    except OSError as error:
        raise CommandError(
            f"cannot read the key `{file}`: {(error.strerror or 'error').lower()}", code=USAGE
        ) from None
    except UnicodeDecodeError:
        raise CommandError(f"`{file}` is no public key in PEM or JWK", code=USAGE) from None
    if len(text) > MAXIMUM_KEY:
        raise CommandError(f"`{file}` is longer than any public key", code=USAGE)
    if "PRIVATE KEY" in text or '"d"' in text:
        raise CommandError(
            f"`{file}` holds a private key, which the gateway must not see",
            hint="`openssl pkey -in FILE -pubout` gives its public key",
            code=USAGE,
        )
    return text


def _with_ids(account: dict[str, Any]) -> dict[str, Any]:
    return {**account, "key_ids": [key["id"] for key in account["keys"]]}


def _revoked(answer: dict[str, Any]) -> str:
    count = answer["revoked"]
    return f", and {counted(count, 'token')} with it" if count else ""
