-- Keeps what a member of a chord contributes, as Celery's workers do; tells whether it is complete.
--
-- KEYS[1]  what members have contributed, by their places (Celery's .j)
-- KEYS[2]  how many members have joined later (.t)
-- KEYS[3]  how many members the chord began with (.s)
-- KEYS[4]  which members have been counted (.d)
-- KEYS[5]  who sends the body; 'done' when that has been sent (.c)
-- ARGV[1]  the member's task id
-- ARGV[2]  its place
-- ARGV[3]  what it contributes
-- ARGV[4]  milliseconds that all of it is kept; 0 for ever
-- ARGV[5]  how many members the chord began with, if KEYS[3] does not tell; 0 is unknown
if redis.call('GET', KEYS[5]) == 'done' then
  return 0
end
if redis.call('SADD', KEYS[4], ARGV[1] .. ':' .. ARGV[2]) == 1 then
  redis.call('ZADD', KEYS[1], ARGV[2], ARGV[3])
end
if ARGV[4] ~= '0' then
  for at = 1, 4 do
    redis.call('PEXPIRE', KEYS[at], ARGV[4])
  end
end
local size = tonumber(redis.call('GET', KEYS[3]) or ARGV[5])
local joined = tonumber(redis.call('GET', KEYS[2]) or 0)
return (size > 0 and redis.call('ZCARD', KEYS[1]) >= size + joined) and 1 or 0
