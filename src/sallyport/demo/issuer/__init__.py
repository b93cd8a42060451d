"""The development issuer: an OpenID provider for the demo alone. It asks for no password.

Theory of operation. Whoever logs in picks a person of the demo with a button. No cookie is set, so
nothing that a browser sends by itself counts: each login takes a click on a page of this issuer,
and a click counts with what that page was sealed with (`seals`) and by the page's own `Origin`
alone (`door`). One click is one login, of one person at one client: it has a name (`sid`), at most
one refresh token at a time, and an end. Everything is kept in memory, bounded in number and time.

It listens on 127.0.0.1, and the gateway refuses it outside the demo (`config/development`).
"""
