-- Ends deliveries of one slot, each with all that must be written with it.
--
-- Every item is complete before the next one begins.  The gate of an item is XACK: it answers 1
-- to whoever comes first, and what has not passed it writes nothing.
--
-- KEYS[1]  written first if anything will need memory: an out-of-memory Redis refuses that, and
--          then nothing has been written
-- KEYS[2..] the sources: for each stream of a delivery the stream, and since when its queue is
--          there; as many as ARGV[6] says.  Then as many other streams as ARGV[7] says, as many
--          delayed sets as ARGV[8] says, as many others as ARGV[10] says, and the results' keys.
--          Items name a key by its place among those of its kind, from 1; results' keys stand in
--          the order in which items use them.
-- ARGV[1]  the group
-- ARGV[2]  the consumer
-- ARGV[3]  milliseconds that a result is kept; 0 for ever
-- ARGV[4]  milliseconds for which what is accepted once is remembered
-- ARGV[5]  1 if something will need memory
-- ARGV[6], [7], [8]  how many sources, streams, delayed sets
-- ARGV[9]  the consumer in whose hands messages wait again
-- ARGV[10] how many other keys
-- then     for each delayed set the channel on which its queue's workers are woken
-- then     how many chords, and for each the key of its parts, its members, and a message as in
--          enqueue, which is sent when all of them have ended
-- then     the items: a letter, and what belongs to it
--   s  source, id, state, payload                    done, with one result: most of them
--   m  source, id, state, payload, chord, place, part  the same, a member of a chord; its part is
--        '' if it is the payload
--   n  source, id                                    done, with nothing
--   h  crashes' key, field                           no item: the next one's crashes are forgotten
--   d  source, id, parts                             done
--   a  parts                                         acknowledged before
--   x  source, id, crashes' key, dead letters' key, priority, reason, died, deliveries, crashes,
--      message, parts                                dead
--   r  source, id, crashes' key, field, crashed, unused, channel            given back
--   l  source, id, crashes' key, field, delayed set, seconds as ms, head, message   ... for later
-- parts: number of results, (state, payload)..., number of messages, (as in enqueue)..., number of
--        chords it is a member of (0 or 1), (the chord's number, place, payload)
local group, me, ttl, once_ms, free = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[9]
local sources, streams, sets = ARGV[6] + 0, ARGV[7] + 0, ARGV[8] + 0
first_stream = 1 + 2 * sources
first_set = first_stream + streams
first_other = first_set + sets
local result = first_other + ARGV[10]
local now = now_ms()
local first_chord = 12 + sets
local touched = {}
local channels, added, deleted, failed = {}, {}, {}, {}

for source = 1, sources do
  check_types(2 * source, 2 * source, 'stream')
end
check_types(first_stream + 1, first_set, 'stream')
check_types(first_set + 1, first_other, 'zset')
for at = 1, sets do
  channels[KEYS[first_set + at]] = ARGV[10 + at]
end
if ARGV[5] == '1' then
  redis.call('SET', KEYS[1], '', 'PX', 1)
end

-- Was the message in a queue that the server has lost since (FLUSHALL, a restart without data)?
-- Then nobody else can have settled it.
local function lost(source, id)
  local born = redis.call('GET', KEYS[2 * source + 1])
  return not born or string.match(id, '^%d+') + 0 < born + 0
end

local function delete(source, id)
  local ids = deleted[source]
  if not ids then
    ids = {}
    deleted[source] = ids
  end
  ids[#ids + 1] = id
end

local function gate(source, id)
  if redis.call('XACK', KEYS[2 * source], group, id) == 1 then
    delete(source, id)
    return true
  end
  return lost(source, id)
end

-- Why the parts at `at` cannot be written, if so.
local function problem_of(at)
  for key = result + 1, result + ARGV[at] do
    local problem = refused(KEYS[key])
    if problem then
      return problem
    end
  end
end

-- Keeps what a member contributes to the chord of that number.
local function contribute(number, place, payload)
  local chord = first_chord + 5 * (number - 1)
  redis.call('HSETNX', KEYS[first_other + ARGV[chord]], place, payload)
  touched[chord] = true
end

-- Walks over the parts at `at`, and writes them if `wanted`.  Returns where they end.
local function parts(at, wanted)
  local count = ARGV[at] + 0
  at = at + 1
  for _ = 1, count do
    result = result + 1
    if wanted then
      store(KEYS[result], ARGV[at], ARGV[at + 1], ttl)
    end
    at = at + 2
  end
  count = ARGV[at] + 0
  at = at + 1
  for _ = 1, count do
    if wanted then
      local delayed, member = enqueue(ARGV[at], ARGV[at + 1], ARGV[at + 2], now, once_ms)
      if delayed then
        added[delayed] = added[delayed] or {}
        added[delayed][member] = true
      end
    end
    at = at + 3
  end
  count = ARGV[at] + 0
  at = at + 1
  for _ = 1, count do
    if wanted then
      contribute(ARGV[at], ARGV[at + 1], ARGV[at + 2])
    end
    at = at + 3
  end
  return at
end

local function owned(source, id)
  local row = redis.pcall('XPENDING', KEYS[2 * source], group, id, id, 1)
  if row.err or not row[1] or row[1][2] ~= me then
    return nil
  end
  return row[1][4]
end

local function fail(item, problem)
  failed[#failed + 1] = item
  failed[#failed + 1] = problem
end

local item, at = -1, first_chord + 5 * ARGV[first_chord - 1]
while at <= #ARGV do
  local kind = ARGV[at]
  if kind ~= 'h' then
    item = item + 1
  end
  if kind == 's' then
    result = result + 1
    local source, id, key, value = ARGV[at + 1] + 0, ARGV[at + 2], KEYS[result], ARGV[at + 4]
    if store_new(key, value, ttl) then
      -- The usual case, and the fewest commands: taken back if the gate is shut.
      if gate(source, id) then
        redis.call('PUBLISH', key, value)
      else
        redis.call('DEL', key)
      end
    else
      local problem = refused(key)
      if problem then
        fail(item, problem)
      elseif gate(source, id) then
        store(key, ARGV[at + 3], value, ttl)
      end
    end
    at = at + 5
  elseif kind == 'm' then
    result = result + 1
    local source, id, key, value = ARGV[at + 1] + 0, ARGV[at + 2], KEYS[result], ARGV[at + 4]
    local passed = false
    if store_new(key, value, ttl) then
      passed = gate(source, id)
      if passed then
        redis.call('PUBLISH', key, value)
      else
        redis.call('DEL', key)
      end
    else
      local problem = refused(key)
      if problem then
        fail(item, problem)
      else
        passed = gate(source, id)
        if passed then
          store(key, ARGV[at + 3], value, ttl)
        end
      end
    end
    if passed then
      contribute(ARGV[at + 5], ARGV[at + 6], ARGV[at + 7] ~= '' and ARGV[at + 7] or value)
    end
    at = at + 8
  elseif kind == 'h' then
    redis.pcall('HDEL', KEYS[first_other + ARGV[at + 1]], ARGV[at + 2])
    at = at + 3
  elseif kind == 'n' then
    gate(ARGV[at + 1] + 0, ARGV[at + 2])
    at = at + 3
  elseif kind == 'd' or kind == 'a' or kind == 'x' then
    local start = at + (kind == 'd' and 3 or kind == 'a' and 1 or 11)
    local problem, passed = problem_of(start), false
    if problem then
      fail(item, problem)
    else
      passed = kind == 'a' or gate(ARGV[at + 1] + 0, ARGV[at + 2])
    end
    if passed and kind == 'x' then
      redis.pcall('HDEL', KEYS[first_other + ARGV[at + 3]], ARGV[at + 5] .. ':' .. ARGV[at + 2])
      redis.call('XADD', KEYS[first_stream + ARGV[at + 4]], '*', 'reason', ARGV[at + 6], 'died',
        ARGV[at + 7], 'deliveries', ARGV[at + 8], 'crashes', ARGV[at + 9], 'priority',
        ARGV[at + 5], 'm', ARGV[at + 10])
    end
    at = parts(start, passed)
  elseif kind == 'r' then
    local source, id = ARGV[at + 1] + 0, ARGV[at + 2]
    local count = owned(source, id)
    if count then
      if ARGV[at + 5] == '1' then
        redis.pcall('HINCRBY', KEYS[first_other + ARGV[at + 3]], ARGV[at + 4], 1)
      end
      redis.call('XCLAIM', KEYS[2 * source], group, free, 0, id, 'RETRYCOUNT',
        math.max(count - ARGV[at + 6], 0), 'JUSTID')
      redis.call('PUBLISH', ARGV[at + 7], '')
    end
    at = at + 8
  else
    local source, id, delayed = ARGV[at + 1] + 0, ARGV[at + 2], KEYS[first_set + ARGV[at + 5]]
    if owned(source, id) then
      local member = ARGV[at + 7] .. ARGV[at + 8]
      redis.call('ZADD', delayed, string.format('%d', now + ARGV[at + 6]), member)
      redis.call('XACK', KEYS[2 * source], group, id)
      redis.pcall('HDEL', KEYS[first_other + ARGV[at + 3]], ARGV[at + 4])
      delete(source, id)
      added[delayed] = added[delayed] or {}
      added[delayed][member] = true
    end
    at = at + 9
  end
end
-- Counted when all of these members are there; the members of a batch are mostly of one chord.
for chord in pairs(touched) do
  if keep_chord(KEYS[first_other + ARGV[chord]], ttl) >= ARGV[chord + 1] + 0 then
    enqueue(ARGV[chord + 2], ARGV[chord + 3], ARGV[chord + 4], now, once_ms)
  end
end
for source, ids in pairs(deleted) do
  redis.call('XDEL', KEYS[2 * source], unpack(ids))
end
tell_of_first(added, channels)
return failed
