// The peer in Node: terminus runs what it is given for every probe; the ten checks run side by side.
'use strict'

const http = require('http')
const net = require('net')
const { createTerminus } = require('@godaddy/terminus')

const port = Number(process.env.DEPENDENCY_PORT)
const checks = Number(process.env.CHECKS)

const ask = () => new Promise((resolve, reject) => {
  const socket = net.connect(port, '127.0.0.1', () => socket.write('how are you\n'))
  socket.once('data', () => { socket.end(); resolve() })
  socket.once('error', reject)
})

const server = http.createServer((request, response) => response.end())
createTerminus(server, {
  healthChecks: { '/health': () => Promise.all(Array.from({ length: checks }, ask)) }
})
server.listen(0, '127.0.0.1', () => console.log(`listening on ${server.address().port}`))
