"""The relying party's half of OpenID Connect: what the command line and the API's sign-in share.

errors     how a login at a provider fails
provider   asks an issuer: discovery, keys, tokens; bounded, no redirects
code       the code flow with PKCE: what a browser opens, and what it comes back with
id_token   what an ID token must show
"""
