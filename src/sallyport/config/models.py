"""Models of the configuration file. Attributes are its keys (`except` is `except_`)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from sallyport.config.detectors import DetectorSettings
from sallyport.config.document import build_document, revision_of
from sallyport.config.issuers import Issuer
from sallyport.config.rules import (
    AccessRule,
    ApprovalSettings,
    Model,
    PolicySettings,
    Some,
    Targets,
)
from sallyport.config.types import (
    Address,
    Duration,
    FilePath,
    Name,
    Names,
    Reference,
    Scope,
    Size,
    Where,
    sequence,
)

Tag = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,62}$")]
Mechanism = Literal["token", "scram", "oauth", "certificate"]
TlsMode = Literal["disable", "require", "verify-ca", "verify-full"]


class Certificate(Model):
    """A server certificate with its key."""

    certificate: Reference = Field(description="PEM, with its chain")
    key: Reference = Field(description="PEM")


class SignInSettings(Model):
    """How long a browser that signed in stays so."""

    longest: Duration = Field(default=12 * 3600.0, description="then one signs in again")
    idle: Duration = Field(default=3600.0, description="without a request, likewise")


class ApiSettings(Model):
    """Where the API listens."""

    address: Where = Address("127.0.0.1", 8642)
    tls: Certificate | None = Field(default=None, description="demanded off loopback")
    url: str | None = Field(
        default=None,
        description="by which browsers and programs call it, e.g. `https://gateway.example.com`; "
        "absent: made of `address`",
    )
    sign_in: SignInSettings = SignInSettings()

    @property
    def origin(self) -> str:
        """Scheme, host and port that it is called by; empty where it listens on a socket."""
        if self.url is not None:
            return self.url.rstrip("/")
        if self.address.path is not None:
            return ""
        return f"{'http' if self.tls is None else 'https'}://{self.address}"


class OAuthSettings(Model):
    """What `POST /oauth/token` of the API gives out."""

    endpoint: str | None = Field(
        default=None,
        description="the URL that service accounts call it by, and their assertions name as `aud`; "
        "absent: made of `api.url`, or `api.address`",
    )
    lifetime: Duration = Field(default=900.0, description="of a token, and so of its sessions")
    bind_source: bool = Field(
        default=False, description="a token is only taken from the address that it was given to"
    )


class ListenerTls(Certificate):
    """A listener's TLS."""

    required: bool = Field(default=True, description="refuse plain connections")
    client_ca: Reference | None = Field(
        default=None,
        description="PEM of who signs client certificates, for `authentication: certificate`",
    )
    client_groups: bool = Field(
        default=False,
        description="a client certificate's organizational units (OU) are the subject's groups",
    )


class ListenerOAuth(Model):
    """Where a client that has no token yet is sent."""

    issuer: str = Field(description="the name of one of `issuers`")
    scope: Scope = Field(
        default="openid", description="what it asks the issuer for, split by spaces"
    )


class Listener(Model):
    """One port or socket that clients connect to."""

    name: Name
    protocol: str
    address: Where
    public: Where | None = Field(
        default=None,
        description="where clients reach it, where that is another address (a load balancer's)",
    )
    domain: str | None = Field(
        default=None,
        max_length=190,
        pattern=r"^[a-z0-9-]+(\.[a-z0-9-]+)*$",
        description="http: its own name, so that `TARGET.name` reaches a target; "
        "absent: by `/t/TARGET/` alone",
    )
    authentication: Mechanism = Field(default="token", description="the one mechanism it takes")
    oauth: ListenerOAuth | None = Field(
        default=None, description="demanded by `authentication: oauth`"
    )
    tls: ListenerTls | None = Field(default=None, description="demanded off loopback")


class VaultSettings(Model):
    """The built-in credential store."""

    key: Reference = Field(description="the master key: 32 bytes, raw or base64")
    generate: bool = Field(default=False, description="make the key file at the first start")


class TargetTls(Model):
    """How the target leg is encrypted, and what its certificate must show."""

    mode: TlsMode = "verify-full"
    ca: Reference | None = Field(default=None, description="PEM; absent: the system's authorities")
    server_name: str | None = Field(default=None, description="absent: the address's host")


class Login(Model):
    """One login of a target."""

    credential: Reference | None = Field(
        default=None, description="absent: the target asks for none"
    )


class MaskChecking(Model):
    """What is asked of the masks of a target before it is opened."""

    checked: bool = Field(
        default=False, description="no session before `sallyport masks check` found nothing"
    )
    waive: Names = Field(default=(), description="globs over names that it may find")


class TargetSettings(Model):
    """One database, host, API or cluster behind the gateway."""

    name: Name = Field(description="what clients name as their database")
    protocol: str
    labels: dict[str, str] = {}
    address: Where = Field(description="`host:port`, or `/folder:port` of a Unix socket")
    database: str = Field(
        default="", max_length=63, description="the database to reach, where the protocol has such"
    )
    databases: Names = Field(
        default=(), description="globs over others that `target/other` may name"
    )
    tls: TargetTls = Field(
        default=TargetTls(), description="default: verify-full off loopback, else disable"
    )
    login: str = Field(description="the default login")
    logins: dict[str, Login] = Field(min_length=1)
    classify: dict[Tag, Some] = Field(
        default={}, description="tag to globs over `schema.table.column`: what these columns hold"
    )
    masks: MaskChecking = MaskChecking()
    settings: dict[str, Any] = Field(default={}, description="the protocol's own settings")

    @model_validator(mode="after")
    def _plain_on_loopback(self) -> TargetSettings:
        if "tls" not in self.model_fields_set and self.address.is_local:
            object.__setattr__(self, "tls", TargetTls(mode="disable"))
        return self


class StatedSettings(Model):
    """What clients say of their task and purpose: recorded and shown, never trusted for rights."""

    applications: Names = Field(
        default=(),
        description="patterns (RE2) over whole application names, with groups `(?P<task>...)` and "
        "`(?P<purpose>...)`; the first that matches counts",
    )


class ApproverScope(Model):
    """Groups that approve at some targets alone."""

    groups: Some = Field(description="groups whose members approve")
    targets: Targets = Field(description="at these targets; nothing of others is shown to them")


class OriginSettings(Model):
    """Where clients come from."""

    countries: FilePath | None = Field(
        default=None,
        description="a database of countries in the MaxMind DB format (GeoLite2-Country, "
        "DB-IP), read at start and at each reload",
    )


class Roles(Model):
    """Which groups hold a role of the product itself."""

    admin: Names = Field(default=(), description="may do everything but approve")
    auditor: Names = Field(default=(), description="sees everything, recordings too")
    operator: Names = Field(
        default=(),
        description="runs the product: status, targets, policy, live sessions; sees no recording, "
        "token or credential",
    )
    approver: Annotated[tuple[str | ApproverScope, ...], BeforeValidator(sequence)] = Field(
        default=(), description="answers what waits; a group, or groups at some targets"
    )

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """The groups of each role."""
        approver: list[str] = []
        for one in self.approver:
            approver += [one] if isinstance(one, str) else one.groups
        return {
            "admin": self.admin,
            "auditor": self.auditor,
            "operator": self.operator,
            "approver": tuple(dict.fromkeys(approver)),
        }


class TargetRetention(Model):
    """How long recordings of one target are kept."""

    age: Duration | None = None
    size: Size | None = None


class Retention(Model):
    """How long recordings are kept."""

    age: Duration | None = 90 * 86400.0
    size: Size | None = 10 * 1024**3
    targets: dict[str, TargetRetention] = Field(default={}, description="per target instead")


class RecordingSettings(Model):
    """What is kept of sessions, and how surely."""

    durability: Literal["grouped", "strict"] = Field(
        default="grouped", description="strict: reads too wait for the disk"
    )
    result_bytes: Size = Field(
        default=1024**2, description="kept of each result; the rest is hashed"
    )
    encrypt: bool = Field(
        default=False, description="recordings, and statements in the index and in approvals"
    )
    reserve: Size = Field(default=64 * 1024**2, description="disk space kept free for decisions")
    subject_bytes_per_hour: Size = Field(default=1024**3, description="what one subject may fill")
    retention: Retention = Retention()


class SessionSettings(Model):
    """Bounds on sessions."""

    maximum: int = Field(default=2000, ge=1)
    max_session: Duration = 12 * 3600.0
    idle: Duration | None = Field(default=None, description="absent: an idle session is kept")
    login_timeout: Duration = 10.0


class LoggingSettings(Model):
    """The process's own log."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "text"] = "json"


class Config(Model):
    """The whole file."""

    version: Literal[1]
    state: FilePath = Field(description="folder of the store, journals, recordings and sockets")
    api: ApiSettings = ApiSettings()
    listeners: Annotated[tuple[Listener, ...], BeforeValidator(sequence)] = ()
    vault: VaultSettings
    targets: Annotated[tuple[TargetSettings, ...], BeforeValidator(sequence)] = ()
    issuers: Annotated[tuple[Issuer, ...], BeforeValidator(sequence)] = ()
    oauth: OAuthSettings = OAuthSettings()
    roles: Roles = Roles()
    stated: StatedSettings = StatedSettings()
    origin: OriginSettings = OriginSettings()
    access: Annotated[tuple[AccessRule, ...], BeforeValidator(sequence)] = ()
    detectors: Annotated[tuple[DetectorSettings, ...], BeforeValidator(sequence)] = Field(
        default=(), description="content detectors of your own, for mask rules to name"
    )
    policy: PolicySettings = PolicySettings()
    approvals: ApprovalSettings = ApprovalSettings()
    recording: RecordingSettings = RecordingSettings()
    sessions: SessionSettings = SessionSettings()
    logging: LoggingSettings = LoggingSettings()

    def policy_document(self) -> bytes:
        """Return what workers decide from: access rules, rules and guardrails, as one JSON text."""
        classes = {target.name: target.classify for target in self.targets if target.classify}
        detectors = tuple(detector.definition() for detector in self.detectors)
        return build_document(self.access, self.policy, self.approvals, classes, detectors)

    @property
    def revision(self) -> str:
        """What identifies the policy: a hash of its document."""
        return revision_of(self.policy_document())
