-- Takes messages of the outbox that nobody holds.
--
-- KEYS[1]  the outbox: messages by when they are free
-- ARGV[1]  milliseconds for which they are held
-- ARGV[2]  how many at most
local now = now_ms()
local free = redis.call('ZRANGEBYSCORE', KEYS[1], 0, now, 'LIMIT', 0, ARGV[2])
for _, message in ipairs(free) do
  redis.call('ZADD', KEYS[1], now + ARGV[1], message)
end
return free
