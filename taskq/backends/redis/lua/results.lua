-- How a result is kept: under Celery's key, as the document itself, told on a channel of that name.

local READY = {SUCCESS = true, FAILURE = true, REVOKED = true}

-- The state of a stored result: from its head, or from the document, which has it near its start
-- in every serializer.  Compressed documents do not show it; only those of tasks that have ended
-- are compressed, and they may be a success.
local function state_of(value)
  local state = string.match(value, '^%ztaskq:([^%z]*)%z')
  if state then
    return state
  end
  if string.sub(value, 1, 19) == '\0celery-compressed\0' then
    return 'COMPRESSED'
  end
  local _, last = string.find(string.sub(value, 1, 96), 'status', 1, true)
  return last and string.match(string.sub(value, last + 1, last + 40), '%u%u%u[%u_]*') or ''
end

local function supersedes(state, known)
  if known == 'COMPRESSED' then
    return state == 'SUCCESS'
  end
  if not READY[known] then
    return true
  end
  return known ~= 'SUCCESS' and READY[state]
end

-- Why a result cannot be kept under this key, if so.  Asked before anything is written.
local function refused(key)
  local kind = redis.call('TYPE', key)['ok']
  if kind ~= 'string' and kind ~= 'none' then
    return 'WRONGTYPE ' .. key .. ' holds a ' .. kind .. ', not a result'
  end
end

-- Keeps a result where there is none.  ttl: milliseconds, '0' for ever.
local function store_new(key, value, ttl)
  if ttl == '0' then
    return redis.call('SET', key, value, 'NX')
  end
  return redis.call('SET', key, value, 'PX', ttl, 'NX')
end

-- Keeps a result where there is one, unless that counts for more; tells whether it did.
local function store_over(key, state, value, ttl)
  local known = redis.call('GET', key)
  if known and not supersedes(state, state_of(known)) then
    return false
  end
  if ttl == '0' then
    redis.call('SET', key, value)
  else
    redis.call('SET', key, value, 'PX', ttl)
  end
  return true
end

local function store(key, state, value, ttl)
  if store_new(key, value, ttl) or store_over(key, state, value, ttl) then
    redis.call('PUBLISH', key, value)
  end
end
