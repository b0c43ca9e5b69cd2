"""The reference client: receives publishes, keeps their totals, audits them, shows them live.

    actor.py        the child of the supervisor
    server.py       ReferenceClient: its life, and the order of audit, commit and answer
    reference.py    what the next two know of it
    handlers.py     HTTP, one handler per path
    events.py       the live streams of the page
    publishes.py    bytes -> Publish
    store.py        what must survive, in SQLite
    page/           the page: three files as the browser gets them, and an icon

The rules it audits by are in `actors/core/client/audit.py`.
"""
