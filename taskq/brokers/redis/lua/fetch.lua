-- Hands messages to a worker, the most urgent first, over all its queues of one slot.
--
-- KEYS     for each queue: streams of priority 0 to 9, delayed set, crashes, pause flag
-- ARGV[1]  the group
-- ARGV[2]  the consumer
-- ARGV[3]  how many messages at most
-- ARGV[4]  the least priority to take
-- ARGV[5]  the consumer in whose hands messages wait again
--
-- Returns the numbers of paused queues between commas; in how many milliseconds the next delayed
-- message is due ('' if there is none or something was taken); '1' if a group is missing; and for
-- each message: queue * 10 + priority, id, deliveries, crashes, the message.
local group, me, room, least, free = ARGV[1], ARGV[2], ARGV[3] + 0, ARGV[4] + 0, ARGV[5]
local each = 13
local queues = #KEYS / each
local now = now_ms()
local paused, stuck, names, missing, due = {}, {}, {}, '', ''
local out = {}

local function move_due(base)
  local ready = redis.call('ZRANGEBYSCORE', KEYS[base + 11], '-inf', now, 'LIMIT', 0, 200)
  for _, member in ipairs(ready) do
    local priority, deliveries, crashes, last =
      string.match(member, '^(%d):(%d+):(%d+):[^:]*():')
    if not priority then
      -- No member of ours: whoever gets it cannot read it, and buries it.
      priority, deliveries, crashes, last = 0, '0', '0', 0
    end
    local stream, packed = KEYS[base + 1 + priority], string.sub(member, last + 1)
    local moved
    if deliveries == '0' and crashes == '0' then
      moved = redis.pcall('XADD', stream, '*', 'm', packed)
    else
      moved = redis.pcall('XADD', stream, '*', 'm', packed, 'd', deliveries, 'c', crashes)
    end
    if moved.err then
      return false -- out of memory: it stays until there is room
    end
    redis.call('ZREM', KEYS[base + 11], member)
  end
  return true
end

-- What others have written must not raise here: its message has been given to us by then.
local function give(queue, priority, entry, count)
  local id, fields = entry[1], entry[2]
  local deliveries, crashes = count, 0
  if fields[3] then
    deliveries, crashes = deliveries + (tonumber(fields[4]) or 0), tonumber(fields[6]) or 0
  end
  if count > 1 then
    local more = redis.pcall('HGET', KEYS[queue * each + 12], priority .. ':' .. id)
    crashes = crashes + (tonumber(more) or 0)
  end
  local at = #out
  out[at + 1], out[at + 2], out[at + 3] = queue * 10 + priority, id, deliveries
  out[at + 4], out[at + 5] = crashes, fields[2]
  room = room - 1
end

-- What waits again was there before what is new.
local function take(queue, priority)
  local stream = KEYS[queue * each + 1 + priority]
  local waiting = redis.pcall('XPENDING', stream, group, '-', '+', room, free)
  if waiting.err then
    missing = '1'
    return
  end
  if #waiting > 0 then
    local ids, counts = {}, {}
    for at, row in ipairs(waiting) do
      ids[at], counts[row[1]] = row[1], row[4] + 1
    end
    for _, entry in ipairs(redis.call('XCLAIM', stream, group, me, 0, unpack(ids))) do
      if entry then
        give(queue, priority, entry, counts[entry[1]])
      end
    end
  end
  if room > 0 then
    local reply =
      redis.call('XREADGROUP', 'GROUP', group, me, 'COUNT', room, 'STREAMS', stream, '>')
    if reply then
      for _, entry in ipairs(reply[1][2]) do
        give(queue, priority, entry, 1)
      end
    end
  end
end

for queue = 0, queues - 1 do
  if redis.call('EXISTS', KEYS[queue * each + 13]) == 1 then
    paused[queue] = true
    names[#names + 1] = queue
  else
    stuck[queue] = not move_due(queue * each)
  end
end
for priority = 9, least, -1 do
  for queue = 0, queues - 1 do
    local stream = KEYS[queue * each + 1 + priority]
    if room > 0 and not paused[queue] and redis.call('XLEN', stream) > 0 then
      take(queue, priority)
    end
  end
end
if #out == 0 then
  for queue = 0, queues - 1 do
    local first = redis.call('ZRANGE', KEYS[queue * each + 11], 0, 0, 'WITHSCORES')
    local waits = first[2] and not paused[queue] and not stuck[queue]
    if waits and (due == '' or first[2] + 0 < due + 0) then
      due = first[2]
    end
  end
end
if due ~= '' then
  due = string.format('%d', math.max(due - now, 0))
end
return {table.concat(names, ','), due, missing, out}
