"""A cluster of NSQ's own programs on this machine, for trials and tests: `python supervisor.py cluster`.

    plan.py          which nodes there are, their ports and arguments
    flags.py         whether the programs take the flags that are passed on
    certificates.py  a certificate authority to throw away, and what it signs
    node.py          the actor that runs one node
    lifecycle.py     the cluster from start to end
    control.py       the commands of another terminal
    paste.py         the addresses, as a part of config.toml

A node is one program: nsqd, nsqlookupd or nsqadmin.
"""
