-- wrk's side of the suite http: sends the requests of a file in turn, from the first again after the last.
-- The file has one request a line: path, right and Idempotency-Key, with a space between them.
local requests, sent = {}, 0

function init(args)
  for line in io.lines(args[1]) do
    local path, right, key = line:match('^(%S+) (%S+) (%S+)$')
    requests[#requests + 1] = wrk.format('POST', path, { authorization = 'Right ' .. right, ['idempotency-key'] = key })
  end
end

function request()
  sent = sent % #requests + 1
  return requests[sent]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format('pressed %d %d %d %d\n', summary.requests, summary.duration, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout))
end
