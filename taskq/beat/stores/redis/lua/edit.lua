-- Enables, disables or resets one entry.
--
-- KEYS[1]  the states
-- KEYS[2]  counts the edits
-- ARGV[1]  its name
-- ARGV[2]  enable, disable or reset
-- ARGV[3]  enable, reset: the next due time
-- ARGV[4]  reset: the due time that it must have
-- Returns 1 if it is there (reset: if it had that due time).
local state = state_of(KEYS[1], ARGV[1])
if not state then
  return 0
end
if ARGV[2] == 'disable' then
  state[ENABLED] = false
elseif ARGV[2] == 'enable' then
  if not state[ENABLED] then
    state[ENABLED], state[DUE] = true, ARGV[3] + 0
  end
elseif state[DUE] == ARGV[4] + 0 then
  state[DUE], state[LAST_DUE] = ARGV[3] + 0, -1
else
  return 0
end
keep_state(KEYS[1], ARGV[1], state)
redis.call('INCR', KEYS[2])
return 1
