"""What `check` looks at, one file each. Each returns findings; none of them changes anything anywhere.

finding.py      what was found, and what to do
state.py        the state folder, its ledgers, the service
lookup.py       the nsqlookupds, and the nsqds that they know
queue.py        the queue as a whole: its nsqds, the topic, the channel
nsqd.py         one nsqd: what it agrees to
clock.py        how far the clock of an nsqd is from ours
client.py       the client
"""
