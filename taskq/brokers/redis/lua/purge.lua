-- Deletes messages that wait in a queue; those that are being worked on stay.
--
-- KEYS     streams 0 to 9, delayed set, crashes
-- ARGV[1]  the group
-- ARGV[2]  the consumer in whose hands messages wait again
-- ARGV[3]  how many at most, so that Redis is not held up
-- Returns how many were deleted.
local group, free, room = ARGV[1], ARGV[2], ARGV[3] + 0
local deleted = 0

local function last_delivered(stream)
  local groups = redis.pcall('XINFO', 'GROUPS', stream)
  for _, row in ipairs(groups) do
    local about = {}
    for at = 1, #row, 2 do
      about[row[at]] = row[at + 1]
    end
    if about.name == group then
      return '(' .. about['last-delivered-id'], true
    end
  end
  return '-', false
end

for priority = 0, 9 do
  local stream = KEYS[1 + priority]
  if deleted < room and redis.call('XLEN', stream) > 0 then
    local after, grouped = last_delivered(stream)
    local ids = {}
    if grouped then
      for _, row in ipairs(redis.call('XPENDING', stream, group, '-', '+', room - deleted, free)) do
        ids[#ids + 1] = row[1]
        redis.call('XACK', stream, group, row[1])
        redis.call('HDEL', KEYS[12], priority .. ':' .. row[1])
      end
    end
    if deleted + #ids < room then
      local count = room - deleted - #ids
      for _, entry in ipairs(redis.call('XRANGE', stream, after, '+', 'COUNT', count)) do
        ids[#ids + 1] = entry[1]
      end
    end
    if #ids > 0 then
      redis.call('XDEL', stream, unpack(ids))
      deleted = deleted + #ids
    end
  end
end
if deleted < room then
  deleted = deleted + redis.call('ZREMRANGEBYRANK', KEYS[11], 0, room - deleted - 1)
end
return deleted
