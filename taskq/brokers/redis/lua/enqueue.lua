-- Publishes messages to the queues of one slot: all of them, or none.
--
-- KEYS[1]       what this producer has sent last; written first, since an out-of-memory Redis
--               refuses that, and then nothing else has been written
-- KEYS[2..]     as many streams as ARGV[3] says, then as many delayed sets as ARGV[4] says, then
--               the keys of messages that are accepted a single time
-- ARGV[1]       names this attempt: if its reply was lost it comes again, and is recognised
-- ARGV[2]       milliseconds for which such things are remembered
-- ARGV[3], [4]  how many streams, how many delayed sets
-- then          for each delayed set the channel on which its queue's workers are woken
-- then          for each message: place of its stream, the message, and '' or what is special
local streams, sets = ARGV[3] + 0, ARGV[4] + 0
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return 0
end
first_stream, first_set, first_other = 1, 1 + streams, 1 + streams + sets
check_types(first_stream + 1, first_set, 'stream')
check_types(first_set + 1, first_other, 'zset')
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
local channels, added = {}, {}
for at = 1, sets do
  channels[KEYS[first_set + at]] = ARGV[4 + at]
end
local now = now_ms()
for at = 5 + sets, #ARGV, 3 do
  local delayed, member = enqueue(ARGV[at], ARGV[at + 1], ARGV[at + 2], now, ARGV[2])
  if delayed then
    added[delayed] = added[delayed] or {}
    added[delayed][member] = true
  end
end
tell_of_first(added, channels)
return 1
