-- Sends a dead letter back to its queue.
--
-- KEYS     streams 0 to 9, dead letters
-- ARGV[1]  the dead letter's id
-- Returns 1 if it was there.
local found = redis.pcall('XRANGE', KEYS[11], ARGV[1], ARGV[1])
if found.err or not found[1] then
  return 0
end
local about = {}
for at = 1, #found[1][2], 2 do
  about[found[1][2][at]] = found[1][2][at + 1]
end
redis.call('XADD', KEYS[1 + about.priority], '*', 'm', about.m)
redis.call('XDEL', KEYS[11], ARGV[1])
return 1
