"""One or more real-looking secrets for each detector. Keys are written in two parts on purpose, so
that no scanner takes this file for a leak."""

from __future__ import annotations

A20, A36, A40 = "Zq7Kd0vRtW3xLm9PbNc2", "Zq7Kd0vRtW3xLm9PbNc2Zq7Kd0vRtW3xLm9P", "Zq7Kd0vRtW" * 4
HEX32, HEX64 = "0f1e2d3c" * 4, "0f1e2d3c" * 8
PEM = (
    "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7\nqv2Zq7Kd0vRt\n"
    "-----END RSA " + "PRIVATE KEY-----"
)

SAMPLES: dict[str, tuple[str, ...]] = {
    "email": (
        "alice@example.com",
        "bob.o'neil+tag@sub.example.co.uk",
        "R&D@corp.example",
        "用户@例え.jp",
        "alice\uff20example.com",
        "alice%40example.com",
        "a@b.io",
    ),
    "phone": (
        "+1 (555) 123-4567",
        "+442079460958",
        "+49 30 123456-78",
        "+33\u00a01\u00a023\u00a045\u00a067\u00a089",
        "(555) 123-4567",
        "555-123-4567",
        "555.123.4567",
        "01 23 45 67 89",
    ),
    "card": (
        "4111111111111111",
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "4111\u00a01111\u00a01111\u00a01111",
        "4111\u20111111\u20111111\u20111111",
        "4111 - 1111 - 1111 - 1111",
        "\uff14" + "\uff11" * 15,
        "\u0664" + "\u0661" * 15,
        "4111\u200b1111\u200b1111\u200b1111",
        "3782 822463 10005",
        "30569309025904",
        "6304000000000000",
    ),
    "iban": (
        "DE89370400440532013000",
        "DE89 3704 0044 0532 0130 00",
        "de89 3704 0044 0532 0130 00",
        "NL91ABNA0417164300",
        "GB82-WEST-1234-5698-7654-32",
        "FR14 2004 1010 0505 0001 3M02 606",
        "MT84MALT011000012345MTLCAST001S",
        "NO93 8601 1117 947",
    ),
    "ssn": ("123-45-6789", "123 45 6789", "123\u201145\u20116789"),
    "bsn": ("111222333", "111.222.333", "1234.56.782"),
    "dni": ("12345678Z", "12345678-z", "12.345.678-Z", "X1234567L", "Z-1234567-R"),
    "nir": ("255081416802538", "2 55 08 14 168 025 38"),
    "codice-fiscale": ("RSSMRA85T10A562S", "mrtmtt91d08f205j"),
    "pesel": ("44051401359",),
    "nrn": ("85073003328", "85.07.30-033.28", "170730-033-84"),
    "steuer-id": ("86095742719", "86 095 742 719"),
    "jwt": ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",),
    "private-key": (
        PEM,
        "-----BEGIN " + "PRIVATE KEY-----\\nMIIE\\n-----END " + "PRIVATE KEY-----",
        "-----BEGIN OPENSSH " + "PRIVATE KEY-----\nb3BlbnNzaC1rZXk",
        "AGE-SECRET-" + "KEY-1" + "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L" * 1,
    ),
    "aws-key": ("AKIA" + "IOSFODNN7EXAMPLE", "ASIA" + "IOSFODNN7EXAMPLE"),
    "gcp-key": ("AIza" + "SyA" + A36[:32], "ya29." + A40, "GOCSPX-" + A20 + "abcdefgh"),
    "azure-key": ("abc" + "8Q~" + A36[:34],),
    "github-token": ("ghp_" + A36, "github_pat_" + A20 + "_" + A40),
    "gitlab-token": ("glpat-" + A20,),
    "slack-token": ("xoxb-" + "123456789012-" + A20, "xapp-" + "1-" + A20),
    "stripe-key": ("sk_" + "live_" + A20, "rk_" + "test_" + A20, "whsec_" + A20 + A20),
    "ai-key": ("sk-" + A40, "sk-ant-" + "api03-" + A40, "sk-proj-" + A40, "hf_" + A36),
    "npm-token": ("npm_" + A36,),
    "pypi-token": ("pypi-" + "AgEIcHlwaS5vcmc" + A20,),
    "service-key": (
        "SG." + A20 + "." + A40,
        "dapi" + HEX32,
        "hvs." + A36,
        "dop_v1_" + HEX64,
        "123456789:AA" + A36[:33],
    ),
}

IN_CONTEXT: dict[str, tuple[tuple[str, str], ...]] = {
    "phone": (
        ("Tel.: 030 123456", "030 123456"),
        ("mobile 07700 900123", "07700 900123"),
        ("Téléphone : 0123456789", "0123456789"),
    ),
    "ssn": (("SSN: 123456789", "123456789"), ("social security no. 123456789", "123456789")),
    "url-password": (
        ("postgres://app:hunter2@db.example/shop", "hunter2"),
        ("https://u:pa/ss@host/x", "pa/ss"),
        ("amqp://:s3cret@mq", "s3cret"),
        ("host=db password=hunter2 dbname=x", "hunter2"),
        ("jdbc:postgresql://h/d?user=u&password=hunter2&ssl=1", "hunter2"),
        ("Server=db;Uid=u;Pwd='hunter2';", "hunter2"),
    ),
    "aws-key": (
        ("aws_secret_access_key = " + A40, A40),
        ('"SecretAccessKey": "' + A40 + '"', A40),
    ),
    "azure-key": (("AccountKey=" + A40 * 2 + "abcdef==;x", A40 * 2 + "abcdef=="),),
    "slack-token": (("https://hooks.slack.com/services/T000/B000/" + A20, "T000/B000/" + A20),),
}

HARMLESS = (
    "",
    "no secrets here",
    "2024-01-15 10:30:00.123456+00",
    "550e8400-e29b-41d4-a716-446655440000",
    "1700000000000",
    "0.4111111111111111",
    "192.168.100.200",
    "user@localhost",
    "@mention and name@",
    "4111111111111112",
    "1234567890123456",
    "000-45-6789",
    "task-force-of-many-people-and-things",
    "DE89370400440532013001",
    "12345678A",
    "https://example.com:8443/path@x",
    "sha256:" + "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "v1.2.3-4-g5678",
    "-----BEGIN CERTIFICATE-----",
    "41111111111111114111111111111111411111111111",
)
