// A service in Node with terminus: its database is a folder that is there or not, its cache is always well.
'use strict'

const fs = require('fs')
const http = require('http')
const { createTerminus, HealthCheckError } = require('@godaddy/terminus')

const database = process.env.DATABASE

// A page for everything else, as a front end that is served from the same place has it.
const server = http.createServer((request, response) => {
  response.setHeader('content-type', 'text/html')
  response.end('<!doctype html><title>stock</title>')
})

createTerminus(server, {
  healthChecks: {
    '/health': async () => {
      const cache = { status: 'up' }
      if (fs.existsSync(database)) return { cache, database: { status: 'up' } }
      throw new HealthCheckError('not well', { cache, database: { status: 'down', message: 'the folder is gone' } })
    }
  }
})
server.listen(0, '127.0.0.1', () => console.log(`listening on ${server.address().port}`))
