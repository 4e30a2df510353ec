-- Moves entries to their next due times, each together with the messages of its ticks.
--
-- KEYS[1], [2]  the states, the outbox
-- KEYS[3..]     as many streams as ARGV[2] says, then as many delayed sets as ARGV[3] says, then
--               the keys of messages that are accepted a single time
-- ARGV[1]       milliseconds for which such things are remembered
-- ARGV[2], [3]  how many streams, how many delayed sets
-- then          for each delayed set the channel on which its queue's workers are woken
-- then          for each entry: name, revision, due, last tick, next due, runs, missed, failures,
--               the time, lateness, error, how many messages; and for each message: place of its
--               stream (0: it goes to the outbox), the message, and '' or what is special
-- Returns       the names of those that stood where they were said to stand.
local streams, sets = ARGV[2] + 0, ARGV[3] + 0
first_stream, first_set, first_other = 2, 2 + streams, 2 + streams + sets
-- Nothing is undone when a script fails, so that what can fail comes before the first write.
check_types(1, 1, 'hash')
check_types(2, 2, 'zset')
check_types(first_stream + 1, first_set, 'stream')
check_types(first_set + 1, first_other, 'zset')
local channels, added, won, now = {}, {}, {}, now_ms()
for at = 1, sets do
  channels[KEYS[first_set + at]] = ARGV[3 + at]
end

local function move(at)
  local name, due, last = ARGV[at], ARGV[at + 2] + 0, ARGV[at + 3] + 0
  local state = state_of(KEYS[1], name)
  if
    not state
    or not state[ENABLED]
    or state[REVISION] ~= ARGV[at + 1]
    or state[DUE] ~= due
    or state[LAST_DUE] >= last
    or due * 1000 > now
  then
    return false
  end
  local runs = ARGV[at + 5] + 0
  state[DUE], state[LAST_DUE] = ARGV[at + 4] + 0, last
  state[RUNS] = state[RUNS] + runs
  state[MISSED] = state[MISSED] + ARGV[at + 6]
  state[FAILURES] = state[FAILURES] + ARGV[at + 7]
  state[ERROR] = ARGV[at + 10]
  if runs > 0 then
    state[LAST_RUN], state[LATENESS] = ARGV[at + 8] + 0, ARGV[at + 9] + 0
  end
  keep_state(KEYS[1], name, state)
  won[#won + 1] = name
  return true
end

local at = 4 + sets
while at <= #ARGV do
  local moved, count = move(at), ARGV[at + 11] + 0
  at = at + 12
  for _ = 1, count do
    if moved and ARGV[at] == '0' then
      redis.call('ZADD', KEYS[2], 0, ARGV[at + 1])
    elseif moved then
      local delayed, member = enqueue(ARGV[at], ARGV[at + 1], ARGV[at + 2], now, ARGV[1])
      if delayed then
        added[delayed] = added[delayed] or {}
        added[delayed][member] = true
      end
    end
    at = at + 3
  end
end
tell_of_first(added, channels)
return won
