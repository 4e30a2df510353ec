-- How the members of a chord are counted: in a hash, by their places, so that none counts twice.
-- Beside them lie what follows the chord ('record'), and which members have joined it later: one
-- field '+<place>' each, and how many they are ('joined').

-- How many members have ended, less those that have joined later.
local function count_parts(key)
  local known = redis.call('HMGET', key, 'record', 'joined')
  local count = redis.call('HLEN', key)
  if known[1] then
    count = count - 1
  end
  if known[2] then
    -- Each has a field of its own, has to end, and all have one field together.
    count = count - 2 * known[2] - 1
  end
  return count
end

-- Keeps a chord for so many milliseconds at least, '0' for ever; returns how many have ended.
local function keep_chord(key, ttl)
  if ttl ~= '0' and redis.call('PTTL', key) < ttl + 0 then
    redis.call('PEXPIRE', key, ttl)
  end
  return count_parts(key)
end
