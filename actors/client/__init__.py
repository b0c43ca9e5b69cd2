"""The reference client: receives publishes, keeps their totals, audits them, shows them live.

    actor.py        the child of the supervisor
    server.py       ReferenceClient: start and stop
    reference.py    the part of it that handlers.py may use: the order of audit, commit and answer
    handlers.py     HTTP, one handler per path
    express.py      publishes that came in one piece, past the handlers
    answers.py      what a publish is answered
    events.py       the live streams of the page
    publishes.py    bytes -> Publish
    store.py        what must survive a restart, in SQLite: a journal, and what the audit made of it
    page/           the page: three files that are sent as they are, and an icon

The rules it audits by are in `actors/core/client/audit.py`.
"""
