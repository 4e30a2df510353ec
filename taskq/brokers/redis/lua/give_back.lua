-- Gives back all that a consumer still has, at once, and forgets the consumer.
-- What was delivered and not used does not count as delivered.
--
-- KEYS     streams
-- ARGV[1]  the group
-- ARGV[2]  the consumer
-- ARGV[3]  the consumer in whose hands messages wait again
-- ARGV[4]  how many at most, so that Redis is not held up
-- then     for each stream the channel on which its queue's workers are woken
-- Returns 1 if there is more.
local group, me, free, room = ARGV[1], ARGV[2], ARGV[3], ARGV[4] + 0
for at, stream in ipairs(KEYS) do
  local rows = redis.pcall('XPENDING', stream, group, '-', '+', math.max(room, 1), me)
  if not rows.err then
    for _, row in ipairs(rows) do
      redis.call('XCLAIM', stream, group, free, 0, row[1], 'RETRYCOUNT', math.max(row[4] - 1, 0),
        'JUSTID')
    end
    room = room - #rows
    if #rows > 0 then
      redis.call('PUBLISH', ARGV[4 + at], '')
    end
    if room <= 0 then
      return 1
    end
    redis.call('XGROUP', 'DELCONSUMER', stream, group, me)
  end
end
return 0
