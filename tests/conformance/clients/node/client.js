// A client of NSQ made of nsqjs, as other people's programs are. Its order is one JSON object on stdin, and
// what happens is one JSON object a line on stdout: tests/conformance/clients/programs.py describes both.
'use strict'

const fs = require('node:fs')

const {Reader, Writer} = require('nsqjs')

const wanted = JSON.parse(fs.readFileSync(0, 'utf8'))
const [host, port] = wanted.address.split(':')
const settings = {
  clientId: wanted.client_id,
  snappy: wanted.compression === 'snappy',
  deflate: wanted.compression === 'deflate',
}

function say(event) {
  process.stdout.write(JSON.stringify(event) + '\n')
}

function publishAll() {
  const writer = new Writer(host, Number(port), settings)
  const left = [...wanted.publishes]
  const next = () => {
    if (left.length === 0) {
      writer.close()
      say({stopped: true})
      return
    }
    const {topic, bodies, defer_ms: deferMs} = left.shift()
    const answered = (error) => {
      say(error ? {error: error.message} : {published: bodies.length})
      setImmediate(next) // nsqjs is not done with an error before
    }
    if (deferMs > 0) {
      writer.deferPublish(topic, bodies, deferMs, answered)
    } else {
      writer.publish(topic, bodies, answered)
    }
  }
  writer.on(Writer.READY, next)
  writer.on(Writer.ERROR, () => {}) // the callback has it too
  writer.connect()
}

function read() {
  const reader = new Reader(wanted.topic, wanted.channel, {
    ...settings,
    nsqdTCPAddresses: [wanted.address],
    maxInFlight: wanted.max_in_flight,
    maxAttempts: wanted.attempts_max,
    messageTimeout: wanted.msg_timeout_ms,
    maxBackoffDuration: wanted.backoff_s,
    lookupdPollInterval: 1, // after which it connects again
  })
  let held = 0
  let late = null
  let stopping = false
  const stopIfDone = () => {
    if (stopping && held === 0) {
      reader.close()
      say({stopped: true})
      setTimeout(() => process.exit(0), 50) // what it wrote has to leave first
    }
  }
  const respond = (message, answer) => {
    answer(message)
    held -= 1
    setImmediate(stopIfDone) // nsqjs writes an answer in the next tick
  }
  const finish = (message) => message.finish()
  reader.on(Reader.MESSAGE, (message) => {
    held += 1
    const {attempts} = message
    say({
      body: message.body.toString(),
      id: message.id,
      stamp_ns: Number(message.timestamp),
      attempts,
      at_ms: Date.now(),
    })
    if (wanted.then === 'requeue' || (wanted.then === 'requeue once' && attempts === 1)) {
      respond(message, () => message.requeue(wanted.delay_ms))
    } else if (wanted.then === 'touch') {
      const touching = setInterval(() => message.touch(), wanted.hold_ms / 8)
      setTimeout(() => {
        clearInterval(touching)
        respond(message, finish)
      }, wanted.hold_ms)
    } else if (wanted.then === 'hold') {
      process.once('SIGTERM', () => respond(message, finish))
    } else if (wanted.then === 'answer late' && attempts === 1) {
      late = message
    } else if (wanted.then === 'answer late' && attempts === 2) {
      respond(message, finish)
      respond(late, finish)
    } else {
      respond(message, finish)
    }
  })
  reader.on(Reader.DISCARD, (message) => say({given_up: message.body.toString()}))
  reader.on(Reader.ERROR, (error) => process.stderr.write(`${error.message}\n`))
  process.prependListener('SIGTERM', () => {
    stopping = true
    reader.pause() // RDY 0, before what it holds is answered
    stopIfDone()
  })
  reader.connect()
}

if (wanted.do === 'publish') {
  publishAll()
} else {
  read()
}
