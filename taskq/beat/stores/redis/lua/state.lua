-- What is known of an entry beside its definition, as cmsgpack packs it. Times are -1 for none.
local REVISION, ENABLED, DUE, LAST_DUE, LAST_RUN = 1, 2, 3, 4, 5
local RUNS, MISSED, FAILURES, LATENESS, ERROR = 6, 7, 8, 9, 10

local function state_of(key, name)
  local packed = redis.call('HGET', key, name)
  return packed and cmsgpack.unpack(packed)
end

local function keep_state(key, name, state)
  redis.call('HSET', key, name, cmsgpack.pack(state))
end

-- Counts an edit, from the number that the first one is given.
local function count_edit(key, first)
  if not redis.call('SET', key, first, 'NX') then
    redis.call('INCR', key)
  end
end
