-- Renews leases, of what is still this consumer's.  A bare XCLAIM would take from others.
--
-- KEYS     streams
-- ARGV[1]  the group
-- ARGV[2]  the consumer
-- then     for each delivery: index of its stream, id
-- Returns the places, from 0, of those that are not this consumer's any more.
local group, me = ARGV[1], ARGV[2]
local lost, kept = {}, {}
for at = 3, #ARGV, 2 do
  local stream, id = ARGV[at] + 0, ARGV[at + 1]
  local row = redis.pcall('XPENDING', KEYS[stream], group, id, id, 1)
  if row.err or not row[1] or row[1][2] ~= me then
    lost[#lost + 1] = (at - 3) / 2
  else
    kept[stream] = kept[stream] or {}
    table.insert(kept[stream], id)
  end
end
for stream, ids in pairs(kept) do
  ids[#ids + 1] = 'JUSTID'
  redis.call('XCLAIM', KEYS[stream], group, me, 0, unpack(ids))
end
return lost
