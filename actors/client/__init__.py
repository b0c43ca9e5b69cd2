"""The reference client: receives publishes, keeps what it was told, audits it, shows it live.

    server.py       ReferenceClient: its life, and the order of audit, commit and answer
    handlers.py     HTTP, one handler a path
    events.py       the live streams of the page
    publishes.py    bytes -> Publish
    store.py        what must survive, in SQLite
    page/           the page: three files as the browser gets them, and an icon

The rules it audits by are in `actors/core/client/audit.py`.
"""
