-- Makes the streams of queues and their consumer groups, where they are not there.
--
-- KEYS     for each queue: the key that says since when it is there, then its streams
-- ARGV[1]  the group
-- ARGV[2]  streams of each queue
-- ARGV[3]  milliseconds after which a queue goes whose owner is silent; 0 for one that stays
local each = ARGV[2] + 1
local now = now_ms()
for base = 1, #KEYS, each do
  local born = now
  for at = base + 1, base + each - 1 do
    local made = redis.pcall('XGROUP', 'CREATE', KEYS[at], ARGV[1], '0', 'MKSTREAM')
    if made.err and not string.find(made.err, 'BUSYGROUP') then
      return made
    end
    local first = redis.call('XRANGE', KEYS[at], '-', '+', 'COUNT', 1)[1]
    if first then
      born = math.min(born, string.match(first[1], '^%d+') + 0)
    end
    if ARGV[3] ~= '0' then
      redis.call('PEXPIRE', KEYS[at], ARGV[3])
    end
  end
  -- Messages from before this moment were in a queue that the server has lost since.
  redis.call('SET', KEYS[base], string.format('%d', born), 'NX')
  if ARGV[3] ~= '0' then
    redis.call('PEXPIRE', KEYS[base], ARGV[3])
  end
end
return 1
