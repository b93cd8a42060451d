"""Logging in as a person: at the issuer, then at the gateway; what is kept of it, and renewed.

provider   asks an issuer: discovery, keys, tokens; bounded, no redirects
device     RFC 8628: a code that is typed in any browser
loopback   RFC 8252: hears the one answer of a browser on this machine
code       RFC 6749 with PKCE, on the loopback
id_token   what an ID token must show
kept       logins as they are kept: a keyring, or files of 0600
renewing   a token that has expired is had anew, once
commands   `sallyport login` and `sallyport logout`
"""
