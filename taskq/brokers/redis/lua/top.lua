-- The highest priority of which a worker could be given something; -1 if there is nothing.
-- For workers whose queues lie in several slots of a cluster, which no one script reaches.
--
-- KEYS     for each queue: streams of priority 0 to 9, delayed set, crashes, pause flag
-- ARGV[1]  the group
-- ARGV[2]  the consumer in whose hands messages wait again
local group, free = ARGV[1], ARGV[2]
local each = 13

local function waits(stream)
  local length = redis.call('XLEN', stream)
  if length == 0 then
    return false
  end
  local pending = redis.pcall('XPENDING', stream, group)
  if pending.err or length > pending[1] then
    return true
  end
  return #redis.call('XPENDING', stream, group, '-', '+', 1, free) > 0
end

local now = now_ms()
for priority = 9, 0, -1 do
  for base = 0, #KEYS - each, each do
    if redis.call('EXISTS', KEYS[base + 13]) == 0 then
      if waits(KEYS[base + 1 + priority]) then
        return priority
      end
      -- A delayed message that has become due is moved by whoever fetches.
      if priority == 9 and redis.call('ZCOUNT', KEYS[base + 11], '-inf', now) > 0 then
        return 9
      end
    end
  end
end
return -1
