"""A client of the session protocol `baton/1`, written from docs/protocol.md and from nothing else.

It is for tests: it does what a client MUST do at once, shows all that comes, and lets a test do the rest by hand. Some
of what a client SHOULD do is left out, because it only makes it faster or fairer: to find out what the path takes (a
test says how wide it is) and to ask for fewer acknowledgements (section 2), to hold datagrams back while control waits
(section 4), and to ask when nothing comes (section 13).
"""
