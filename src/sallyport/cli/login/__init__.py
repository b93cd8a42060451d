"""Logging in as a person: at the issuer, then at the gateway; what is kept of it, and renewed.

What is the same for every login at a provider is in `identity.relying`.

asking     asks an issuer; what goes wrong there is the command's error
device     RFC 8628: a code that is typed in any browser
loopback   RFC 8252: hears the one answer of a browser on this machine
code       the code flow, with a browser on this machine
kept       logins as they are kept: a keyring, or files of 0600
renewing   a token that has expired is had anew, once
commands   `sallyport login` and `sallyport logout`
"""
