-- Frees messages whose lease has ended, and forgets consumers that are long gone.
-- A consumer's name ends with its lease in milliseconds, so that each is judged by its own.
--
-- KEYS     for each queue: the key that says that it has just been swept, then its streams 0 to 9
-- ARGV[1]  the group
-- ARGV[2]  the consumer in whose hands messages wait again
-- ARGV[3]  milliseconds within which one sweep is enough for all workers
-- ARGV[4]  1 to sweep all the same
-- then     for each queue the channel on which its workers are woken
-- Returns how many messages were freed.
local group, free = ARGV[1], ARGV[2]
local each = 11
local freed = 0

local function sweep(stream)
  local consumers = redis.pcall('XINFO', 'CONSUMERS', stream, group)
  if consumers.err then
    return 0
  end
  local found = 0
  for _, row in ipairs(consumers) do
    local about = {}
    for at = 1, #row, 2 do
      about[row[at]] = row[at + 1]
    end
    local lease = string.match(about.name, ':(%d+)$')
    if lease and about.pending > 0 then
      local ended = redis.call('XPENDING', stream, group, 'IDLE', lease, '-', '+', 500, about.name)
      local ids = {}
      for at, entry in ipairs(ended) do
        ids[at] = entry[1]
      end
      if #ids > 0 then
        found = found + #ids
        ids[#ids + 1] = 'JUSTID'
        redis.call('XCLAIM', stream, group, free, lease, unpack(ids))
      end
    elseif lease and about.idle > 60000 + 3 * lease then
      redis.call('XGROUP', 'DELCONSUMER', stream, group, about.name)
    end
  end
  return found
end

for queue = 0, #KEYS / each - 1 do
  local base = queue * each
  -- An out-of-memory Redis refuses that, and then everybody sweeps.
  local mine = redis.pcall('SET', KEYS[base + 1], '', 'PX', ARGV[3], 'NX')
  if mine or ARGV[4] == '1' then
    local found = 0
    for at = base + 2, base + each do
      found = found + sweep(KEYS[at])
    end
    if found > 0 then
      redis.call('PUBLISH', ARGV[5 + queue], '')
      freed = freed + found
    end
  end
end
return freed
