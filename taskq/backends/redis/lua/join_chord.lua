-- One more member of a chord that has begun.
--
-- KEYS[1]  the chord's parts
-- ARGV[1]  milliseconds that they are kept; 0 for ever
-- ARGV[2]  the member's place
if redis.call('HSETNX', KEYS[1], '+' .. ARGV[2], '') == 1 then
  redis.call('HINCRBY', KEYS[1], 'joined', 1)
end
if ARGV[1] ~= '0' and redis.call('PTTL', KEYS[1]) < ARGV[1] + 0 then
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
return 0
