-- Publishes messages to the queues of one slot: all of them, or none.
--
-- KEYS[1]       what this producer has sent last
-- KEYS[2..]     as many streams as ARGV[4] says, then as many delayed sets as ARGV[5] says, then
--               the keys of messages that are accepted a single time
-- ARGV[1]       names this attempt
-- ARGV[2]       1 if it has been made before and its reply was lost: perhaps it came through
-- ARGV[3]       milliseconds for which such things are remembered
-- ARGV[4], [5]  how many streams, how many delayed sets
-- then          for each delayed set the channel on which its queue's workers are woken
-- then          for each message: place of its stream, the message, and '' or what is special
local streams, sets = ARGV[4] + 0, ARGV[5] + 0
if ARGV[2] == '1' and redis.call('GET', KEYS[1]) == ARGV[1] then
  return 0
end
first_stream, first_set, first_other = 1, 1 + streams, 1 + streams + sets
local channels, added, now = {}, {}, nil
-- A single stream of another type is found by the first XADD, before anything is written.
if streams > 1 or first_other < #KEYS or sets > 0 then
  check_types(first_stream + 1, first_set, 'stream')
  check_types(first_set + 1, first_other, 'zset')
  now = now_ms()
end
for at = 1, sets do
  channels[KEYS[first_set + at]] = ARGV[5 + at]
end
for at = 6 + sets, #ARGV, 3 do
  local delayed, member = enqueue(ARGV[at], ARGV[at + 1], ARGV[at + 2], now, ARGV[3])
  if delayed then
    added[delayed] = added[delayed] or {}
    added[delayed][member] = true
  end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
tell_of_first(added, channels)
return 1
